"""What does a YAML text say, and on which line? Plain JSON data with positions, or faults.

Scalars are read as kubectl reads them (YAML 1.1), except that a time stays text. Aliases and merge
keys work; what they repeat counts, so that a small text cannot become a large object.

INVARIANT: a key that is written twice is a fault, because two readers could take two values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import yaml

Scalar: TypeAlias = str | int | float | bool | None
Path: TypeAlias = tuple[str | int, ...]

MAX_CHARACTERS = 4_000_000
MAX_NODES = 200_000
"""Of one text, with everything that aliases repeat."""
MAX_DEPTH = 64

_STANDARD = "tag:yaml.org,2002:"
_MERGE = "<<"
_BOOL = {
    "yes": True, "Yes": True, "YES": True, "true": True, "True": True, "TRUE": True,
    "on": True, "On": True, "ON": True,
    "no": False, "No": False, "NO": False, "false": False, "False": False, "FALSE": False,
    "off": False, "Off": False, "OFF": False,
}  # fmt: skip
"""https://yaml.org/type/bool.html, without `y` and `n`, which no reader in use takes."""
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]{0,29}|0[0-7_]{1,29}|0x[0-9a-fA-F_]{1,29}|0b[01_]{1,99})")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9_]{1,29}|[0-9][0-9_]{0,29}(\.[0-9_]{0,29})?)([eE][-+]?[0-9]{1,3})?"
)


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands; a value of a mapping stands where its key does.

    Attributes:
        text: a scalar as it was written.
    """

    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    line: int
    column: int
    text: str = ""

    def plain(self) -> Any:
        """The value as JSON data: dict, list or scalar."""
        match self.value:
            case Mapping():
                return {key: each.plain() for key, each in self.value.items()}
            case tuple():
                return [each.plain() for each in self.value]
            case scalar:
                return scalar

    def at(self, path: Sequence[str | int]) -> Node:
        """The node at a path, or the nearest node above it that exists."""
        if not path:
            return self
        step, *rest = path
        match self.value, step:
            case Mapping() as members, str() if step in members:
                node: Node = members[step]
            case tuple() as items, int() if step < len(items):
                node = items[step]
            case _:
                return self
        return node.at(rest)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the text itself, and where (from 1; 0 where it is not known)."""

    line: int
    column: int
    message: str
    remedy: str = ""


class _UnreadableError(Exception):
    """Nothing after this point can be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def read(text: str) -> tuple[tuple[Node, ...], tuple[Fault, ...]]:
    """All documents of a text that are not empty, and all faults.

    A document with a fault that leaves it readable is in both. Never raises.
    """
    if len(text) > MAX_CHARACTERS:
        return (), (Fault(0, 0, f"the text has more than {MAX_CHARACTERS} characters"),)
    # the parser in C is ten times as fast, where PyYAML was built with it
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    reader = _Reader(yaml.parse(text, Loader=loader))
    documents = list[Node]()
    try:
        documents.extend(reader.documents())
    except _UnreadableError as error:
        reader.faults.append(error.fault)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        reader.faults.append(Fault(line, column, f"this is no YAML: {error.problem}"))
    except yaml.YAMLError as error:
        reader.faults.append(Fault(0, 0, f"this is no YAML: {str(error).splitlines()[0]}"))
    return tuple(documents), tuple(reader.faults)


@dataclass(slots=True)
class _Reader:
    """Turns the parser's events into nodes; lives for one text."""

    events: Iterator[Any]
    faults: list[Fault] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)
    nodes: int = 0

    def documents(self) -> Iterator[Node]:
        for event in self.events:
            match event:
                case yaml.DocumentStartEvent():
                    self.anchors.clear()
                case yaml.StreamStartEvent() | yaml.StreamEndEvent() | yaml.DocumentEndEvent():
                    pass
                case _:
                    node = self._node(event, 0)
                    if node.value is not None:
                        yield node

    def _node(self, event: Any, depth: int) -> Node:
        line, column = _position(event)
        if depth > MAX_DEPTH:
            raise _UnreadableError(Fault(line, column, f"nested deeper than {MAX_DEPTH} levels"))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self.nodes
        self._count(1, event)
        match event:
            case yaml.ScalarEvent():
                node = Node(self._scalar(event), line, column, str(event.value))
            case yaml.SequenceStartEvent():
                self._check_tag(event, "seq")
                node = Node(tuple(self._items(depth)), line, column)
            case _:
                self._check_tag(event, "map")
                node = Node(self._members(depth), line, column)
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, self.nodes - before)
        return node

    def _alias(self, event: Any) -> Node:
        line, column = _position(event)
        if event.anchor not in self.anchors:
            raise _UnreadableError(
                Fault(line, column, f"there is no anchor `{event.anchor}` above")
            )
        node, size = self.anchors[event.anchor]
        self._count(size, event)
        return replace(node, line=line, column=column)

    def _count(self, nodes: int, event: Any) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            message = f"more than {MAX_NODES} values, counting what aliases repeat"
            raise _UnreadableError(Fault(*_position(event), message))

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _members(self, depth: int) -> Mapping[str, Node]:
        own = dict[str, Node]()
        merged = dict[str, Node]()
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self.events), depth + 1)
            plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
            if key.text == _MERGE and plain:
                for name, node in self._merge(value).items():
                    merged.setdefault(name, node)
            elif not isinstance(key.value, str):
                shown = f"`{key.text}`" if key.text else "a key"
                self._fault(key, f"{shown} is no text, and a key must be", "write it in quotes")
            elif key.value in own:
                first = own[key.value].line
                message = f"the key `{key.value}` is already in line {first}"
                self._fault(key, message, "remove one of the two")
            else:
                own[key.value] = replace(value, line=key.line, column=key.column)
        return {**merged, **own}

    def _merge(self, value: Node) -> Mapping[str, Node]:
        match value.value:
            case Mapping() as members:
                return members
            case tuple() as items if all(isinstance(item.value, Mapping) for item in items):
                found = dict[str, Node]()
                for item in items:
                    for name, node in self._merge(item).items():
                        found.setdefault(name, node)
                return found
            case _:
                self._fault(value, "`<<` takes a mapping or a list of mappings", "")
                return {}

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        text = str(event.value)
        match event.tag:
            case None | "!":
                return resolve(text) if event.implicit[0] and event.tag is None else text
            case tag if tag == f"{_STANDARD}str":
                return text
            case tag if tag.startswith(_STANDARD) and tag.removeprefix(_STANDARD) in _TAGS:
                return resolve(text)
            case tag:
                self._refuse_tag(event, tag)
                return text

    def _check_tag(self, event: Any, expected: str) -> None:
        if event.tag not in (None, "!", _STANDARD + expected):
            self._refuse_tag(event, event.tag)

    def _refuse_tag(self, event: Any, tag: str) -> None:
        line, column = _position(event)
        shown = tag.replace(_STANDARD, "!!")
        self.faults.append(Fault(line, column, f"the tag `{shown}` is not accepted", "remove it"))

    def _fault(self, node: Node, message: str, remedy: str) -> None:
        self.faults.append(Fault(node.line, node.column, message, remedy))


_TAGS = frozenset({"int", "float", "bool", "null"})


def resolve(text: str) -> Scalar:
    """A scalar that was written without quotes."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        digits = text.replace("_", "")
        octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
        return int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)
    if _FLOAT.fullmatch(text) and any(character.isdecimal() for character in text):
        return float(text.replace("_", ""))
    return text


def _position(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
