from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from demarc.api import problem
from demarc.api.problem import Problem
from demarc.api.v1alpha1 import Site
from demarc.api.v1alpha1.site import Network


def test_a_problem_is_one_line_that_says_where_what_and_what_to_do() -> None:
    """A part of what is known is not told, or a line break forges a second line."""
    whole = Problem("a.yaml", "Site", "x", "spec.network", "7", "must be so", "do this", 3, 5)
    bare = Problem("", "", "", "", "", "must be so", "")

    assert "a.yaml:3:5: Site x: spec.network: must be so: do this" == str(whole)
    assert "must be so" == str(bare)


SHOWN: list[tuple[Any, str]] = [
    (True, "true"),
    (7, "7"),
    (1.5, "1.5"),
    ("x\ny\x1b[31m", "x?y?[31m"),
    ("x" * 61, "x" * 57 + "..."),
    (None, ""),
    ([1], ""),
    ({}, ""),
]


@pytest.mark.parametrize("value, want", SHOWN)
def test_a_value_is_shown_short_and_on_one_line(value: object, want: str) -> None:
    """A value fills the screen, or writes to the terminal."""
    assert want == problem.shown(value)


def test_a_path_names_the_items_of_lists_by_their_keys() -> None:
    """A person counts list items."""
    data = {
        "a": [
            {"name": "x"},
            {"namespace": "n", "name": "y"},
            {"site": "s"},
            {"other": 1},
            "text",
        ],
        "map": {"nvidia.com/gpu": [1]},
    }

    names = [problem.field_name(("a", index, "f"), data) for index in range(6)]
    assert ["a[x].f", "a[n/y].f", "a[s].f", "a[3].f", "a[4].f", "a[5].f"] == names
    assert "map[nvidia.com/gpu][0]" == problem.field_name(("map", "nvidia.com/gpu", 0), data)
    assert "a.b" == problem.field_name(("a", "b"), None)


def test_a_suggestion_ignores_case_and_dashes() -> None:
    """A near miss gets the whole list."""
    assert "did you mean `costPerGPUHour`?" == problem.suggestion(
        "cost_per_gpu_hour", ("memory", "costPerGPUHour")
    )
    assert "known are a, b" == problem.suggestion("zzzzz", ("a", "b"))
    assert "" == problem.suggestion("zzzzz", tuple(str(n) for n in range(20)))
    assert "" == problem.suggestion("zzzzz", ())


@pytest.mark.parametrize(
    "value, want",
    [
        ({"a": 1}, ("must be a list, not fields", "put `- ` before each entry")),
        ("10.0.0.0/8", ("must be a list, not the text `10.0.0.0/8`", "write [10.0.0.0/8]")),
        (1.5, ("must be a list, not the number `1.5`", "")),
        ("", ("must be a list, not an empty text", "write []")),
        (None, ("must be a list, not nothing", "")),
    ],
)
def test_what_is_no_list_says_how_to_write_one(value: object, want: tuple[str, str]) -> None:
    """A person who forgot a dash reads about tuples."""
    with pytest.raises(ValidationError) as caught:
        Network.model_validate({"cidrs": value})

    [found] = problem.findings(caught.value, Network)
    assert want == (found.message, found.remedy)


def test_an_error_that_has_no_words_of_ours_is_told_all_the_same() -> None:
    """An unforeseen error is dropped, so that the object looks valid."""
    error = ValidationError.from_exception_data(
        "Site",
        [InitErrorDetails(type=PydanticCustomError("odd", "Something odd"), loc=("x",), input=1)],
    )

    [found] = problem.findings(error, Site)
    assert (("x",), "1", "something odd") == (found.path, found.value, found.message)
