"""Does the documentation hold? Python blocks run; YAML blocks are the resources they claim to be.

RULES
- Blocks of one page share a namespace, in the order of the page.
- A YAML document of our API group is read by the model of its kind; any other must be YAML.
- `<!-- skip: next -->` before a block leaves it out, with a reason beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from demarc.api.v1alpha1 import DataResidency, ModelDeployment, RoutingPolicy, Site

if TYPE_CHECKING:
    from sybil import Example

GROUP = "demarc.dev/"
MODELS = {model.__name__: model for model in (DataResidency, ModelDeployment, RoutingPolicy, Site)}


def read_resources(example: Example) -> None:
    """Read each document of a block by the model of its kind.

    Raises:
        yaml.YAMLError: the block is not YAML.
        KeyError: the group is ours and the kind is not.
        pydantic.ValidationError: the resource would be refused.
    """
    for document in yaml.safe_load_all(example.parsed):
        if isinstance(document, dict) and str(document.get("apiVersion")).startswith(GROUP):
            MODELS[document["kind"]].model_validate(document)


pytest_collect_file = Sybil(
    parsers=[
        CodeBlockParser(language="yaml", evaluator=read_resources),
        PythonCodeBlockParser(),
        SkipParser(),
    ],
    patterns=["*.md"],
).pytest()
