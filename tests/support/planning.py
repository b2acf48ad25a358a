"""What does a planning case say? Objects and settings in, placements and manifests out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from demarc.api import load, manifests
from demarc.app import offline, packs
from demarc.planning.objects import HOME
from demarc.planning.placement import Placed
from demarc.planning.settings import PlanSettings

NOW = datetime(2026, 11, 24, tzinfo=UTC)


class PlanningCase(BaseModel):
    """The input of a case; unknown keys fail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str
    objects: Annotated[list[dict[str, Any]], Field(min_length=1)]
    settings: dict[str, Any] = Field(default_factory=dict)
    show: Annotated[list[str], Field(description="Kind/name of manifests; absent: all")] = []


def outcome(given: Mapping[str, Any]) -> dict[str, Any]:
    """Placements, and the manifests of each cluster as they would be applied."""
    case = PlanningCase.model_validate(given)
    text = yaml.safe_dump_all(case.objects)
    objects, problems = load.load(text, file="case")
    assert () == problems
    compiled = offline.compile_folder(objects, packs.load(), NOW)
    settings = PlanSettings(
        home=compiled.home,
        **{
            name: tuple(tuple(row) for row in value) if isinstance(value, list) else value
            for name, value in case.settings.items()
        },
    )
    planned = offline.plan(compiled, settings, NOW)
    return {
        "placements": [
            {
                "deployment": f"{model.metadata.namespace}/{model.metadata.name}",
                **(
                    {
                        "site": placed.site.metadata.name,
                        "pool": placed.pool.name,
                        "replicas": placed.replicas,
                        "passedOver": list(placed.passed_over),
                    }
                    if isinstance(placed, Placed)
                    else {
                        "site": placed.site,
                        "reason": placed.reason.value,
                        "message": placed.message,
                    }
                ),
            }
            for model, placed in offline.placements(compiled, NOW)
        ],
        "objects": [
            {
                "cluster": "home" if item.cluster == HOME else item.cluster,
                **manifests.plain(item.manifest),
            }
            for item in planned
            if not case.show or f"{item.manifest['kind']}/{_name(item.manifest)}" in case.show
        ],
    }


def _name(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"]["name"])
