"""How do messages become the text that a model reads? By the chat template of its folder.

The template is Jinja in the dialect of Hugging Face transformers, and it runs in a sandbox: it
comes with the weights, and it is fed with what clients write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from demarc.engines.generation import Prompt
from demarc.frontend.messages import Message, Tool


class ChatTemplateError(Exception):
    """The template cannot be compiled."""


class MessagesRefusedError(Exception):
    """The template does not take these messages; the message repeats nothing of them."""


class _RefusedByTemplateError(Exception):
    """What `raise_exception` of a template raises."""


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text for training; here it only holds its body."""

    tags = frozenset({"generation"})  # type: ignore[assignment]  # Extension declares a mutable set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Give the body of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """One compiled template.

    Attributes:
        takes_tools: whether the template reads `tools` at all.
    """

    def __init__(self, template: Template, tokens: Mapping[str, str], *, takes_tools: bool) -> None:
        self._template = template
        self._tokens = tokens
        self.takes_tools = takes_tools

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool], *, now: datetime
    ) -> Prompt:
        """Write the prompt that ends where the assistant speaks.

        Raises:
            MessagesRefusedError: the template does not take these messages.
        """
        try:
            text = self._template.render(
                messages=list(messages),
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=True,
                strftime_now=now.strftime,
                **self._tokens,
            )
        except Exception:  # noqa: BLE001  # a template raises anything, and its text may quote
            raise MessagesRefusedError("the chat template refuses these messages") from None
        return Prompt(text)


def compile_template(source: str, tokens: Mapping[str, str]) -> ChatTemplate:
    """Compile a chat template.

    Args:
        source: the Jinja text.
        tokens: special tokens that the template may name, for example `{"bos_token": "<s>"}`.

    Raises:
        ChatTemplateError: the text is no template.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols, _Generation],
        autoescape=False,  # the text goes to a tokenizer, not to a browser
    )
    environment.filters["tojson"] = _to_json
    try:
        names = meta.find_undeclared_variables(environment.parse(source))
        template = environment.from_string(source, globals={"raise_exception": _raise})
        return ChatTemplate(template, tokens, takes_tools="tools" in names)
    except TemplateError as error:
        raise ChatTemplateError(f"the chat template is not valid: {error}") from error


def _to_json(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002  # the signature that templates know
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002  # the signature that templates know
) -> str:
    """Jinja's own filter escapes for HTML; models were trained on plain JSON."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(_message: str) -> NoReturn:
    raise _RefusedByTemplateError
