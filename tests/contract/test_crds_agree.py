"""Do an API server and our loader refuse the same objects? Thousands of changed ones are tried.

INVARIANT: what we accept, a server accepts. What a server accepts and we refuse has a field that
nobody knows, in a kind that keeps such fields.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from demarc.api import load
from support import objects
from support.apiserver import ApiServer
from support.raw_api import RawApi, collection, raw_api

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(90)]

_CHANGED = 200
"""Objects for each seed; nine thousand were tried when this was written."""
_ODD: Mapping[str, tuple[Any, ...]] = {
    "int": (0, 1, 2, 3, 5, 6, -1, 1001, 10**9),
    "str": (
        "",
        "a",
        "A",
        "Any",
        "Unknown",
        "CN",
        "UK",
        "Private",
        "TOP",
        "a b",
        "x" * 64,
        "x" * 254,
        "0.0.0.0/0",
        "10.1.2.3/8",
        "10.244.0.0/33",
        "NoExecute",
        "2027-02-30T00:00:00Z",
        "2027-06-30T24:00:00Z",
        "2027-06-30T00:00:60Z",
    ),
}


@pytest.fixture(scope="module")
def api(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> RawApi:
    """A client of the shared server, which serves our CRDs."""
    return raw_api(apiserver, tmp_path_factory.mktemp("client"))


@pytest.mark.parametrize("seed", range(3))
def test_server_and_loader_refuse_the_same_objects(api: RawApi, seed: int) -> None:
    """A rule stands in CEL or in Python alone, or says two things."""
    source = random.Random(seed)
    manifests = [
        loaded.manifest()
        for name, text in objects.good().items()
        for loaded in load.load(text, file=name)[0]
        if not isinstance(loaded, load.CoreObject)
    ]
    pool = _pool(manifests)
    disagreements = [
        words
        for _ in range(_CHANGED)
        for words in _disagreement(api, _changed(source.choice(manifests), pool, source))
    ]

    assert [] == disagreements


def _disagreement(api: RawApi, manifest: Mapping[str, Any]) -> Iterator[str]:
    answer = api.send("POST", f"{collection(manifest)}?dryRun=All&fieldValidation=Strict", manifest)
    found = load.parse(manifest)
    match answer.status, found:
        case 201, tuple():
            unknown = all("there is no such field" in each.message for each in found)
            if not unknown or manifest["kind"] not in ("RoutingPolicy", "DataResidency"):
                yield f"only we refuse {manifest}: {[str(each) for each in found]}"
        case 201, _:
            return
        case _, tuple():
            return
        case _:
            yield f"only the server refuses {manifest}: {answer.body['message']}"


def _changed(
    manifest: Mapping[str, Any], pool: Mapping[str, list[Any]], source: random.Random
) -> dict[str, Any]:
    """A copy with one or two changes: removed, repeated, emptied, replaced."""
    changed = copy.deepcopy(dict(manifest))
    changed["metadata"] = {**changed["metadata"], "name": "changed"}
    if "namespace" in changed["metadata"]:
        changed["metadata"]["namespace"] = "default"
    for _ in range(source.randint(1, 2)):
        paths = list(_paths(changed["spec"]))
        if not paths:
            break
        *above, last = source.choice(paths)
        parent = _at(changed["spec"], above)
        value = parent[last]
        match source.randrange(6):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, list):
                parent.insert(last, copy.deepcopy(value))
            case 2 if isinstance(value, list | dict):
                parent[last] = type(value)()
            case 3:
                parent[last] = copy.deepcopy(source.choice(pool[source.choice(sorted(pool))]))
            case _:
                parent[last] = copy.deepcopy(source.choice(pool[type(value).__name__]))
    return changed


def _pool(manifests: list[dict[str, Any]]) -> Mapping[str, list[Any]]:
    """Values by type: every value of the good objects, and odd ones."""
    pool = {name: list(values) for name, values in _ODD.items()}
    for manifest in manifests:
        for path in _paths(manifest["spec"]):
            value = _at(manifest["spec"], path)
            pool.setdefault(type(value).__name__, []).append(value)
    return pool


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    match value:
        case dict():
            keys: list[Any] = list(value)
        case list():
            keys = list(range(len(value)))
        case _:
            return
    for key in keys:
        yield (*path, key)
        yield from _paths(value[key], (*path, key))


def _at(value: Any, path: Any) -> Any:
    for key in path:
        value = value[key]
    return value
