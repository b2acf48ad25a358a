"""Does a person hear of what is refused, lame or in vain: once, and not of what only starts?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demarc.app.notes import Notes

FINE = ("True", "Accepted", "The object is valid")


def thing(
    kind: str, conditions: Mapping[str, tuple[str, str, str]], *, observed: int = 1, **status: Any
) -> dict[str, Any]:
    """An object of generation 1 with conditions: type -> status, reason, message."""
    place = {} if kind == "DataResidency" else {"namespace": "t"}
    return {
        "apiVersion": "demarc.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x", "generation": 1, **place},
        "status": {
            "conditions": [
                {
                    "type": name,
                    "status": state,
                    "reason": reason,
                    "message": message,
                    "observedGeneration": observed,
                }
                for name, (state, reason, message) in conditions.items()
            ],
            **status,
        },
    }


REFUSED = thing("DataResidency", {"Accepted": ("False", "UnknownDetectors", "`nope` is unknown")})
LAME = thing(
    "ModelDeployment",
    {"Accepted": FINE, "Ready": ("False", "DigestMismatch", "another folder")},
)


def test_what_is_refused_is_told_once() -> None:
    """An edit that is not in force would look applied."""
    notes = Notes()

    assert notes.look([REFUSED]) == [
        "DataResidency/x is refused: UnknownDetectors: `nope` is unknown"
    ]
    assert notes.look([REFUSED]) == []
    assert notes.look([thing("DataResidency", {"Accepted": FINE})]) == [
        "DataResidency/x: no longer so"
    ]


def test_a_statement_without_effect_is_told() -> None:
    """A misspelt target would be found when a request fails."""
    warned = thing("RoutingPolicy", {"Accepted": ("True", "TargetNotFound", "no `m`")})

    assert Notes().look([warned]) == ["RoutingPolicy/t/x: TargetNotFound: no `m`"]


def test_a_rejected_placement_is_told_with_its_reason() -> None:
    rows = [
        {"site": "a", "pool": "p", "reason": "Placed", "message": ""},
        {"site": "b", "reason": "NoPoolFits", "message": "too small"},
    ]
    model = thing(
        "ModelDeployment",
        {"Accepted": FINE, "Programmed": ("False", "PlacementRejected", "b")},
        placements=rows,
    )

    assert Notes().look([model]) == ["ModelDeployment/t/x does not run on b: NoPoolFits: too small"]


def test_what_does_not_serve_is_told_when_it_lasts() -> None:
    """Every start would print what is over in a moment."""
    notes = Notes()
    looks = [notes.look([LAME]) for _ in range(12)]

    assert [line for lines in looks for line in lines] == [
        "ModelDeployment/t/x does not serve: DigestMismatch: another folder"
    ]
    assert looks[0] == []


def test_a_condition_of_an_older_generation_says_nothing() -> None:
    """A repaired object would be called refused until it is looked at."""
    old = thing("DataResidency", {"Accepted": ("False", "Invalid", "old")}, observed=0)

    assert Notes().look([old]) == []
