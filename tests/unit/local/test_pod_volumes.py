"""Do a pod's files hold what its sources say, and does a reader see one state or the other?"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from demarc.local import pod_volumes, volumes
from demarc.local.pod_volumes import File, Files, MissingSource, Sources
from demarc.local.volumes import VolumeError

POD = {
    "metadata": {
        "name": "p",
        "namespace": "n",
        "uid": "u",
        "labels": {"b": "2", "a": 'x"y'},
        "annotations": {"text": "one\ntwo"},
    },
    "spec": {},
    "status": {"podIP": "127.1.0.2"},
}
SOURCES = Sources(
    config_maps={"cm": {"a": b"1", "b": b"2"}},
    secrets={"sec": {"key": b"k"}},
    tokens={("demarc", 600): "token"},
)


def content(**volume: Any) -> dict[str, File]:
    parsed = pod_volumes.parse({"name": "v", **volume})
    assert isinstance(parsed, Files)
    return dict(pod_volumes.content(parsed, POD, SOURCES))


def test_a_config_map_becomes_files() -> None:
    assert {"a": File(b"1", 0o644), "b": File(b"2", 0o644)} == content(configMap={"name": "cm"})
    assert {"x/y": File(b"1", 0o600)} == content(
        configMap={"name": "cm", "items": [{"key": "a", "path": "x/y", "mode": 0o600}]}
    )


@pytest.mark.parametrize(
    "stated,want", [({}, 0o600), ({"defaultMode": 0o444}, 0o400), ({"defaultMode": 0o777}, 0o600)]
)
def test_a_secret_is_never_wider_than_the_user(stated: dict[str, int], want: int) -> None:
    assert {"key": File(b"k", want)} == content(secret={"secretName": "sec", **stated})


def test_a_mode_of_an_item_does_not_widen_a_secret() -> None:
    items = [{"key": "key", "path": "key", "mode": 0o644}]

    assert {"key": File(b"k", 0o600)} == content(secret={"secretName": "sec", "items": items})


def test_a_projected_volume_joins_its_sources() -> None:
    sources = [
        {"serviceAccountToken": {"path": "token", "audience": "demarc", "expirationSeconds": 600}},
        {"configMap": {"name": "cm", "items": [{"key": "a", "path": "a"}]}},
        {"secret": {"name": "sec"}},
        {
            "downwardAPI": {
                "items": [
                    {"path": "ip", "fieldRef": {"fieldPath": "status.podIP"}},
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}},
                ]
            }
        },
    ]

    assert {
        "token": File(b"token", 0o600),
        "a": File(b"1", 0o644),
        "key": File(b"k", 0o600),
        "ip": File(b"127.1.0.2", 0o644),
        "labels": File(b'a="x\\"y"\nb="2"\n', 0o644),
        "notes": File(b'text="one\\ntwo"\n', 0o644),
    } == content(projected={"sources": sources})


@pytest.mark.parametrize(
    "volume,want",
    [
        ({"configMap": {"name": "no"}}, "ConfigMap `no` is not there"),
        ({"secret": {"secretName": "no"}}, "Secret `no` is not there"),
        (
            {"configMap": {"name": "cm", "items": [{"key": "c", "path": "c"}]}},
            "ConfigMap `cm` has no key `c`",
        ),
        (
            {"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "spec.x"}}]}},
            "the downward API has no field `spec.x`",
        ),
    ],
)
def test_a_missing_source_is_named(volume: dict[str, Any], want: str) -> None:
    with pytest.raises(MissingSource, match=f"^{want}$"):
        content(**volume)


def test_an_optional_source_may_be_missing() -> None:
    optional = {"name": "cm", "optional": True, "items": [{"key": "c", "path": "c"}]}

    assert {} == content(configMap={"name": "no", "optional": True})
    assert {} == content(configMap=optional)


def test_a_config_maps_bytes_come_from_both_its_fields() -> None:
    manifest = {"kind": "ConfigMap", "data": {"a": "ä"}, "binaryData": {"b": "/w=="}}

    assert {"a": "ä".encode(), "b": b"\xff"} == pod_volumes.data_of(manifest)
    assert {"k": b"\xff"} == pod_volumes.data_of({"kind": "Secret", "data": {"k": "/w=="}})


def files(**contents: bytes) -> dict[str, File]:
    return {path.replace("__", "/"): File(text, 0o640) for path, text in contents.items()}


def visible(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith("..")
    }


def test_files_are_written_and_changed_as_the_kubelet_does(tmp_path: Path) -> None:
    folder = tmp_path / "volume"

    assert volumes.write_files(folder, files(a=b"1", d__x=b"2"))
    assert not volumes.write_files(folder, files(a=b"1", d__x=b"2"))

    held = (folder / "..data").resolve()
    opened = (folder / "a").open("rb")

    assert volumes.write_files(folder, files(a=b"3", b=b"4"))

    with opened:
        assert b"1" == opened.read()  # whoever had the old file open still reads it
    assert {"a": b"3", "b": b"4"} == visible(folder)
    assert "..data/a" == str((folder / "a").readlink())
    assert held != (folder / "..data").resolve()
    assert not held.exists()
    assert 0o640 == stat.S_IMODE((folder / "a").stat().st_mode)
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


def test_a_volume_can_become_empty(tmp_path: Path) -> None:
    volumes.write_files(tmp_path, files(a=b"1"))

    assert volumes.write_files(tmp_path, {})
    assert {} == visible(tmp_path)
    assert not volumes.write_files(tmp_path, {})


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "..data", ""])
def test_a_file_does_not_leave_its_volume(tmp_path: Path, path: str) -> None:
    with pytest.raises(VolumeError):
        volumes.write_files(tmp_path, {path: File(b"", 0o600)})


def test_a_sub_path_does_not_leave_its_volume(tmp_path: Path) -> None:
    volumes.make_sub_path(tmp_path, "a/b")

    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(VolumeError, match="leads out of its volume"):
        volumes.make_sub_path(tmp_path, "../b")


def test_one_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "token"
    volumes.write_file(path, b"one")
    volumes.write_file(path, b"two")

    assert b"two" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
