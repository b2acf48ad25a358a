"""Are sets of fields what Kubernetes writes, and back?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.local import field_set
from demarc.local.field_set import Field, FieldsError, Item, Path, Value
from demarc.local.merge_schema import ATOMIC, MAP, SET, keyed, struct

_NAMES = st.text('abc/.:"{}', min_size=1, max_size=4)
_STEPS = st.one_of(
    st.builds(Field, _NAMES),
    st.builds(
        lambda keys: Item(tuple(sorted(keys.items()))),
        st.dictionaries(_NAMES, st.integers(0, 3) | _NAMES, min_size=1, max_size=2),
    ),
    st.builds(Value, st.integers(0, 3) | _NAMES),
)
_PATHS = st.lists(_STEPS, min_size=1, max_size=4).map(tuple)
_SETS = st.frozensets(_PATHS, max_size=6)


@given(_SETS)
def test_what_is_written_is_read_again(fields: frozenset[Path]) -> None:
    """A lost path is a field without an owner; an invented one a field that cannot be removed."""
    written = json.loads(json.dumps(field_set.encode(fields)))

    assert fields == field_set.decode(written)


def test_a_value_states_its_leaves() -> None:
    place = struct(
        labels=MAP, finalizers=SET, selector=ATOMIC, ports=keyed("port", "protocol", protocol="TCP")
    )
    value = {
        "labels": {"a": "1"},
        "finalizers": ["x"],
        "selector": {"matchLabels": {"a": "1"}},
        "ports": [{"port": 80, "name": "http"}],
        "args": ["--a"],
        "emptyDir": {},
        "none": [],
    }
    port = (Field("ports"), Item((("port", 80), ("protocol", "TCP"))))

    assert {
        (Field("labels"), Field("a")),
        (Field("finalizers"), Value("x")),
        (Field("selector"),),
        port,
        (*port, Field("port")),
        (*port, Field("name")),
        (Field("args"),),
        (Field("emptyDir"),),
        (Field("none"),),
    } == field_set.of(value, place)


def test_an_empty_keyed_list_states_nothing() -> None:
    assert frozenset() == field_set.of(
        {"ports": [], "ids": []}, struct(ports=keyed("port"), ids=SET)
    )


@pytest.mark.parametrize(
    "items, want_text",
    [
        ([{"name": "http"}], "`port`"),
        ([80], "no object"),
        ([{"port": 80}, {"port": 80}], "duplicate"),
    ],
)
def test_items_that_cannot_be_told_apart_are_refused(items: list[object], want_text: str) -> None:
    with pytest.raises(FieldsError, match=want_text):
        field_set.of({"ports": items}, struct(ports=keyed("port")))


def test_a_value_twice_in_a_set_is_refused() -> None:
    with pytest.raises(FieldsError, match="duplicate"):
        field_set.of({"ids": ["a", "a"]}, struct(ids=SET))


def test_a_step_of_no_known_form_is_refused() -> None:
    with pytest.raises(FieldsError, match="x:y"):
        field_set.decode({"x:y": {}})


def test_a_path_reads_like_one_of_the_api_server() -> None:
    path = (
        Field("spec"),
        Field("ports"),
        Item((("port", 80), ("protocol", "TCP"))),
        Field("name"),
    )

    assert '.spec.ports[port=80,protocol="TCP"].name' == field_set.text(path)
    assert '.ids[="a"]' == field_set.text((Field("ids"), Value("a")))
