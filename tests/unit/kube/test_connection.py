"""Which kubeconfigs are used, and which are refused before anything is opened or started?"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from demarc.kube import connection
from demarc.kube.connection import Connection, ConnectionConfigError

_PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
_ENCODED = base64.b64encode(_PEM.encode()).decode()


def _kubeconfig(cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "bank", "user": "me"}}],
        "clusters": [{"name": "bank", "cluster": {"server": "https://bank.test:6443/", **cluster}}],
        "users": [{"name": "me", "user": user}],
    }


def test_data_inside_is_read() -> None:
    document = _kubeconfig(
        {
            "certificate-authority-data": _ENCODED,
            "tls-server-name": "api.bank.test",
            "proxy-url": "http://proxy.bank.test:3128",
        },
        {"client-certificate-data": _ENCODED, "client-key-data": _ENCODED, "token": "t"},
    )

    assert Connection(
        server="https://bank.test:6443",
        authority=_PEM,
        certificate=_PEM,
        key=_PEM,
        token="t",
        server_name="api.bank.test",
        proxy="http://proxy.bank.test:3128",
    ) == connection.from_kubeconfig(document)


def test_another_context_can_be_chosen() -> None:
    document = _kubeconfig({}, {"token": "t"})
    document["contexts"].append({"name": "there", "context": {"cluster": "cloud"}})
    document["clusters"].append({"name": "cloud", "cluster": {"server": "https://cloud.test"}})

    found = connection.from_kubeconfig(document, context="there")

    assert Connection(server="https://cloud.test") == found


@pytest.mark.parametrize(
    "cluster, user, want_text",
    [
        ({}, {"exec": {"command": "rm"}}, "exec"),
        ({}, {"auth-provider": {"name": "oidc"}}, "auth-provider"),
        ({}, {"username": "u", "password": "p"}, "username"),
        ({}, {"as": "admin"}, "as"),
        ({}, {"tokenFile": "/etc/shadow"}, "tokenFile"),
        ({}, {"client-key": "/etc/shadow"}, "client-key"),
        ({"certificate-authority": "/etc/ca"}, {}, "certificate-authority"),
        ({"insecure-skip-tls-verify": True}, {}, "insecure-skip-tls-verify"),
        ({"server": "bank.test"}, {}, "server"),
        ({"server": "http://bank.test"}, {"token": "t"}, "credentials need https"),
        ({"certificate-authority-data": "?"}, {}, "certificate-authority-data"),
    ],
)
def test_what_a_secret_must_not_say_is_refused(
    cluster: dict[str, Any], user: dict[str, Any], want_text: str
) -> None:
    """Whoever writes the Secret of a site would run programs, or read files, of the operator."""
    with pytest.raises(ConnectionConfigError, match=want_text):
        connection.from_kubeconfig(_kubeconfig(cluster, user))


@pytest.mark.parametrize("missing", ["current-context", "contexts", "clusters", "users"])
def test_a_part_that_is_missing_is_named(missing: str) -> None:
    document = _kubeconfig({}, {"token": "t"})
    del document[missing]

    with pytest.raises(ConnectionConfigError, match=missing):
        connection.from_kubeconfig(document)


def test_a_loopback_server_may_be_plain() -> None:
    found = connection.from_kubeconfig(
        _kubeconfig({"server": "http://127.1.0.1:8080"}, {"token": "t"})
    )

    assert ("http://127.1.0.1:8080", "t") == (found.server, found.token)


def test_a_file_may_name_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(_PEM)
    (tmp_path / "token").write_text("first\n")
    document = _kubeconfig({"certificate-authority": "ca.crt"}, {"tokenFile": "token"})
    (tmp_path / "config").write_text(yaml.safe_dump(document))

    found = connection.from_file(tmp_path / "config")

    assert _PEM == found.authority
    assert "first" == found.bearer()
    (tmp_path / "token").write_text("second\n")
    assert "second" == found.bearer()


@pytest.mark.parametrize("text", ["a: [", "- a", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)

    with pytest.raises(ConnectionConfigError, match="config"):
        connection.from_file(tmp_path / "config")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConnectionConfigError, match="absent"):
        connection.from_file(tmp_path / "absent")


def test_a_pod_finds_its_cluster(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(_PEM)
    (tmp_path / "token").write_text("pod")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}

    found = connection.in_cluster(environment, account=tmp_path)

    assert ("https://[fd00::1]:443", _PEM, "pod") == (
        found.server,
        found.authority,
        found.bearer(),
    )


def test_outside_a_pod_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConnectionConfigError, match="no pod"):
        connection.in_cluster({}, account=tmp_path)
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConnectionConfigError, match="ServiceAccount"):
        connection.in_cluster(environment, account=tmp_path)


def test_a_connection_shows_no_secret() -> None:
    """It stands in error messages and debuggers."""
    text = repr(Connection(server="https://bank.test", key="swordfish", token="swordfish"))

    assert "swordfish" not in text
