"""Which laws hold for applies by several managers, whatever they apply?"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from demarc.api.cluster import ConflictError
from demarc.local import merge, server_side_apply
from demarc.local.merge_schema import ATOMIC, MAP, SET, keyed, struct
from demarc.local.server_side_apply import Manager

_PLACE = struct(
    metadata=struct(labels=MAP, finalizers=SET),
    spec=struct(items=keyed("name"), selector=ATOMIC),
)
_VALUES = st.sampled_from(["1", "2"])
_MAPS = st.dictionaries(st.sampled_from("xyz"), _VALUES, min_size=1, max_size=3)
_ITEMS = st.lists(
    st.builds(
        lambda name, fields: {"name": name, **fields},
        st.sampled_from("abc"),
        st.dictionaries(st.sampled_from("vw"), _VALUES, max_size=2),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda item: item["name"],
)
_SPECS = st.fixed_dictionaries(
    {"kept": _VALUES},
    optional={
        "items": _ITEMS,
        "selector": _MAPS,
        "list": st.lists(_VALUES, min_size=1, max_size=2),
    },
)
_METADATA = st.fixed_dictionaries(
    {"name": st.just("o")},
    optional={
        "labels": _MAPS,
        "finalizers": st.lists(st.sampled_from("pq"), min_size=1, max_size=2, unique=True),
    },
)
_OBJECTS = st.fixed_dictionaries(
    {"apiVersion": st.just("v1"), "kind": st.just("O"), "metadata": _METADATA, "spec": _SPECS}
)
_APPLIES = st.lists(st.tuples(st.sampled_from("mno"), _OBJECTS), min_size=1, max_size=5)


def _apply(
    live: dict[str, Any] | None, manager: str, wanted: dict[str, Any], *, force: bool = True
) -> dict[str, Any]:
    applied = server_side_apply.apply(
        live, wanted, manager=Manager(manager), place=_PLACE, force=force
    )
    before = live["metadata"].get("managedFields", ()) if live else ()
    entries = server_side_apply.managed_fields(applied, before, now="now")
    metadata = {**applied.object["metadata"], "managedFields": entries}
    return {**applied.object, "metadata": metadata}


def _after(applies: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    live = None
    for manager, wanted in applies:
        live = _apply(live, manager, wanted)
    assert live is not None
    return live


@given(_APPLIES)
def test_applying_again_changes_nothing(applies: list[tuple[str, dict[str, Any]]]) -> None:
    """An operator that runs twice would write twice."""
    live = _after(applies)

    assert live == _apply(live, *applies[-1])


@given(_APPLIES)
def test_what_was_applied_is_there(applies: list[tuple[str, dict[str, Any]]]) -> None:
    live = _after(applies)
    _, wanted = applies[-1]

    difference = merge.compare(wanted, live, _PLACE)

    assert not difference.removed
    assert not difference.modified


@given(_APPLIES, _OBJECTS)
def test_a_visitor_leaves_no_trace_but_what_it_forced(
    applies: list[tuple[str, dict[str, Any]]], wanted: dict[str, Any]
) -> None:
    """Somebody who applies without force and leaves has changed nobody's fields."""
    live = _after(applies)
    try:
        visited = _apply(live, "visitor", wanted, force=False)
    except ConflictError:
        return
    bare = {"apiVersion": "v1", "kind": "O", "metadata": {"name": "o"}}

    left = _apply(visited, "visitor", bare)

    assert server_side_apply.owners_of(live) == server_side_apply.owners_of(left)
    difference = merge.compare(live, left, _PLACE)
    assert not difference.removed
    assert not difference.modified


@given(_APPLIES)
def test_the_arguments_stay_as_they_are(applies: list[tuple[str, dict[str, Any]]]) -> None:
    live = _after(applies)
    before = repr((live, applies))

    _apply(live, "other", applies[0][1])

    assert before == repr((live, applies))


@given(_APPLIES)
def test_every_field_has_an_owner(applies: list[tuple[str, dict[str, Any]]]) -> None:
    """A field without one could never be removed by those who sent it."""
    live = _after(applies)

    owned = frozenset[Any]().union(*server_side_apply.owners_of(live).values())
    spec_paths = {
        path
        for path in merge.compare({}, {"spec": live.get("spec", {})}, _PLACE).added
        if len(path) > 1
    }

    assert spec_paths <= owned | {path[:length] for path in owned for length in range(len(path))}
