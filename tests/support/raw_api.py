"""How does a test ask an API server what no adapter asks? Plain HTTP, answers as they come."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demarc.api.cluster import KINDS
from support.apiserver import ApiServer

_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said.

    Attributes:
        warnings: the texts of its `Warning` headers.
    """

    status: int
    body: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RawApi:
    """A client of one API server as its administrator."""

    server: str
    opener: urllib.request.OpenerDirector

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        """One request; an HTTP error is an answer like any other."""
        request = urllib.request.Request(
            self.server + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": content_type, "Accept": accept},
        )
        try:
            with self.opener.open(request, timeout=_SECONDS) as answer:
                return _answer(answer)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error)


def raw_api(server: ApiServer, folder: Path) -> RawApi:
    """A client whose certificate lies in `folder`."""
    kubeconfig = server.kubeconfig
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    context = ssl.create_default_context(
        cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
    )
    identity = folder / "admin.pem"
    identity.write_bytes(
        base64.b64decode(user["client-certificate-data"])
        + base64.b64decode(user["client-key-data"])
    )
    context.load_cert_chain(identity)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    return RawApi(cluster["server"], opener)


def collection(manifest: Mapping[str, Any]) -> str:
    """The path of the collection that a manifest belongs to."""
    kind = next(kind for kind in KINDS if kind.name == manifest["kind"])
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    middle = f"/namespaces/{manifest['metadata']['namespace']}" if kind.namespaced else ""
    return f"{root}{middle}/{kind.plural}"


def _answer(answer: Any) -> Answer:
    # a header is `299 - "text"`: https://www.rfc-editor.org/rfc/rfc9111#section-5.5 (obsoleted)
    warnings = tuple(
        value.split(" ", 2)[2].strip('"') for value in answer.headers.get_all("Warning", ())
    )
    return Answer(answer.status, json.loads(answer.read() or b"{}"), warnings)
