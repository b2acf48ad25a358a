"""How is an API server reached? A kubeconfig or a pod's own account, as one frozen value.

INVARIANT: reading a kubeconfig starts no program, opens no file that the caller did not allow, and
never yields a connection that does not verify the server.
Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_REFUSED_USER_FIELDS = (
    "exec",
    "auth-provider",
    "username",
    "password",
    "as",
    "as-groups",
    "as-uid",
)
_LOOPBACK_HOSTS = ("localhost", "::1")


class ConnectionConfigError(Exception):
    """A kubeconfig cannot be used; the text names the field."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One API server and who we are to it.

    Attributes:
        server: the base URL, without a slash at its end.
        authority: the CA certificates as PEM; empty means those of the system.
        certificate: our client certificate as PEM, or empty.
        key: its private key as PEM, or empty.
        token: our bearer token, or empty.
        token_file: a file with our bearer token, read anew for each call, or None.
        server_name: the name that the server's certificate must have; empty means the host's.
        proxy: the URL of the HTTP proxy in between, or empty.
    """

    server: str
    authority: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    server_name: str = ""
    proxy: str = ""

    def bearer(self) -> str:
        """The bearer token of this moment; empty if there is none. Reads the token file."""
        if self.token_file is not None:
            return self.token_file.read_text(encoding="utf-8").strip()
        return self.token


def from_kubeconfig(document: Mapping[str, Any], *, context: str = "") -> Connection:
    """Read a kubeconfig that holds all its data, such as one from a Secret.

    Paths are refused: whoever writes a Secret must not choose files of this process.
    """
    return _connection(document, context=context, folder=None)


def from_file(path: Path, *, context: str = "") -> Connection:
    """Read a kubeconfig file of the user's own; paths in it are relative to its folder."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConnectionConfigError(f"`{path}` cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConnectionConfigError(f"`{path}` is no YAML") from error
    if not isinstance(document, Mapping):
        raise ConnectionConfigError(f"`{path}` is no kubeconfig")
    return _connection(document, context=context, folder=path.parent)


def in_cluster(environment: Mapping[str, str], *, account: Path = _SERVICE_ACCOUNT) -> Connection:
    """Read what a pod is given: two environment variables and the files of its ServiceAccount."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise ConnectionConfigError(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod"
        )
    try:
        authority = (account / "ca.crt").read_text(encoding="utf-8")
    except OSError as error:
        raise ConnectionConfigError(f"the pod has no ServiceAccount files: {error}") from error
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Connection(server=f"https://{netloc}", authority=authority, token_file=account / "token")


def _connection(document: Mapping[str, Any], *, context: str, folder: Path | None) -> Connection:
    name = context or str(document.get("current-context") or "")
    if not name:
        raise ConnectionConfigError("the kubeconfig has no `current-context`")
    chosen = _named(document, "contexts", "context", name)
    cluster = _named(document, "clusters", "cluster", str(chosen.get("cluster", "")))
    user = _named(document, "users", "user", str(chosen["user"])) if chosen.get("user") else {}
    _refuse_unsafe(cluster, user)
    server = str(cluster.get("server") or "").rstrip("/")
    scheme, host = urlsplit(server).scheme, urlsplit(server).hostname
    if scheme not in {"http", "https"} or not host:
        raise ConnectionConfigError(f"`server` is no http or https URL: `{server}`")
    token = str(user.get("token") or "")
    token_file = _path(user, "tokenFile", folder) if not token else None
    certificate = _data(user, "client-certificate", folder)
    if scheme == "http" and (token or token_file or certificate) and not _is_loopback(host):
        raise ConnectionConfigError(f"`server` is `{server}`: credentials need https")
    return Connection(
        server=server,
        authority=_data(cluster, "certificate-authority", folder),
        certificate=certificate,
        key=_data(user, "client-key", folder),
        token=token,
        token_file=token_file,
        server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
    )


def _refuse_unsafe(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> None:
    for name in _REFUSED_USER_FIELDS:
        if user.get(name):
            raise ConnectionConfigError(
                f"`{name}` of the user is not supported: use a token or a client certificate"
            )
    if cluster.get("insecure-skip-tls-verify"):
        raise ConnectionConfigError(
            "`insecure-skip-tls-verify` is not supported: give `certificate-authority-data`"
        )


def _named(document: Mapping[str, Any], group: str, member: str, name: str) -> Mapping[str, Any]:
    entries = document.get(group)
    for entry in entries if isinstance(entries, Sequence) else ():
        if isinstance(entry, Mapping) and entry.get("name") == name:
            found = entry.get(member)
            if isinstance(found, Mapping):
                return found
    raise ConnectionConfigError(f"the kubeconfig has no `{name}` in `{group}`")


def _data(holder: Mapping[str, Any], name: str, folder: Path | None) -> str:
    """The PEM text of `name`, from `name`-data or from the file that `name` is."""
    encoded = holder.get(f"{name}-data")
    if encoded:
        try:
            return base64.b64decode(str(encoded), validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ConnectionConfigError(f"`{name}-data` is no base64 of PEM") from error
    path = _path(holder, name, folder)
    if path is None:
        return ""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConnectionConfigError(f"`{name}` cannot be read: {error}") from error


def _path(holder: Mapping[str, Any], name: str, folder: Path | None) -> Path | None:
    value = holder.get(name)
    if not value:
        return None
    if folder is None:
        raise ConnectionConfigError(f"`{name}` is a path: give the data itself")
    return folder / str(value)


def _is_loopback(host: str) -> bool:
    return host in _LOOPBACK_HOSTS or host.startswith("127.")
