"""Does each file of a client hold what proves it now, and is a file gone when nothing does?"""

from __future__ import annotations

import stat
from pathlib import Path

import yaml

from demarc.api import load
from demarc.api.cluster import SECRET, SERVICE_ACCOUNT, Ref
from demarc.api.v1alpha1 import RoutingPolicy
from demarc.app.credentials import Credentials
from support.cluster import MemoryCluster, namespace

POLICY = """
apiVersion: demarc.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: chat, namespace: t}
spec:
  clients:
  - {name: key, app: a, apiKeySecretRef: {name: s, key: token}}
  - {name: account, app: b, serviceAccountRef: {name: robot}}
  models: [{name: auto, targets: [{namespace: t, name: m}]}]
  permit: [{name: inside, scopes: [Private], targets: [{namespace: t, name: m}]}]
  order: Listed
"""


def policy() -> RoutingPolicy:
    found = load.parse(yaml.safe_load(POLICY))
    assert isinstance(found, RoutingPolicy)
    return found


async def cluster() -> MemoryCluster:
    memory = MemoryCluster()
    await memory.apply(namespace("t"), manager="test")
    await memory.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s", "namespace": "t"},
            "stringData": {"token": "first\n"},
        },
        manager="test",
    )
    await account(memory)
    return memory


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def account(memory: MemoryCluster) -> None:
    await memory.apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "robot", "namespace": "t"},
        },
        manager="test",
    )


async def test_a_file_holds_the_credential_and_is_for_its_user_alone(tmp_path: Path) -> None:
    found = await Credentials(tmp_path / "c").write(await cluster(), [policy()])

    key = found["t", "a", "key"]
    assert key.read_text() == "first"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert found["t", "b", "account"].read_text().count(".") == 2


async def test_a_token_of_an_account_that_was_made_anew_is_another_one(tmp_path: Path) -> None:
    """The file would hold a token that the gateway refuses, for hours."""
    memory, credentials = await cluster(), Credentials(tmp_path)
    path = (await credentials.write(memory, [policy()]))["t", "b", "account"]
    first = path.read_text()
    await credentials.write(memory, [policy()])
    assert path.read_text() == first

    await memory.delete(Ref(SERVICE_ACCOUNT, "t", "robot"))
    await account(memory)
    await credentials.write(memory, [policy()])

    assert path.read_text() != first


async def test_what_proves_nothing_any_more_is_gone(tmp_path: Path) -> None:
    """A revoked key would lie on the disk, and `run.json` would offer it."""
    memory, credentials = await cluster(), Credentials(tmp_path)
    await credentials.write(memory, [policy()])
    await memory.delete(Ref(SECRET, "t", "s"))

    assert set(await credentials.write(memory, [policy()])) == {("t", "b", "account")}
    assert names_in(tmp_path) == ["t.b.account"]
    assert not await credentials.write(memory, [])
    assert not names_in(tmp_path)
