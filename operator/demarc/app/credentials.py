"""How does a person on this machine call as a client? One file per client, with its credential.

Each file has mode 0600 and holds the bearer credential and nothing else. A token is issued anew
when its ServiceAccount is another one, and the file of a client that proves nothing is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from demarc.api.cluster import SERVICE_ACCOUNT, Cluster, Ref
from demarc.api.v1alpha1 import RoutingPolicy
from demarc.api.v1alpha1.routing_policy import Client
from demarc.app import run_file
from demarc.reconcile import keyring
from demarc.reconcile.world import AUDIENCE

TOKEN_SECONDS = 24 * 3600

Caller: TypeAlias = tuple[str, str, str]
"""Tenant, app and client."""


class Credentials:
    """The credentials of one `demarc up`."""

    def __init__(self, folder: Path) -> None:
        """`folder` is for the files alone, and made when the first is written."""
        self._folder = folder
        self._tokens = dict[str, str]()  # uid of a ServiceAccount -> a token of it

    def renew(self) -> None:
        """Issue every token anew at the next writing."""
        self._tokens.clear()

    async def write(
        self, home: Cluster, policies: Iterable[RoutingPolicy]
    ) -> Mapping[Caller, Path]:
        """Make the files say what proves each client now; the clients that something proves.

        Raises:
            ClusterError: the cluster does not answer.
            OSError: a file cannot be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = dict[Caller, Path]()
        for policy in policies:
            tenant = policy.metadata.namespace or ""
            for client in policy.spec.clients:
                credential = await self._credential(home, tenant, client)
                if not credential:
                    continue
                path = self._folder / f"{tenant}.{client.app}.{client.name}"
                found[tenant, client.app, client.name] = path
                if not path.exists() or path.read_text("utf-8") != credential:
                    run_file.replace(path, credential, mode=0o600)
        for path in set(self._folder.iterdir()) - set(found.values()):
            path.unlink(missing_ok=True)
        return found

    async def _credential(self, home: Cluster, tenant: str, client: Client) -> str:
        """What proves the client now; empty if nothing does."""
        if (key := client.api_key_secret_ref) is not None:
            data = await keyring.read_secret(home, tenant, key.name)
            return (data or {}).get(key.key, b"").decode(errors="replace").strip()
        if (reference := client.service_account_ref) is None:
            return ""
        account = await home.get(Ref(SERVICE_ACCOUNT, tenant, reference.name))
        if account is None:
            return ""
        uid = str(account["metadata"]["uid"])
        if uid not in self._tokens:
            self._tokens[uid] = await home.issue_token(
                tenant, reference.name, audience=AUDIENCE, seconds=TOKEN_SECONDS
            )
        return self._tokens[uid]
