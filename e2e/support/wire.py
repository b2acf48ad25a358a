"""What travels? Exact bytes over TLS, and the answer as it came: nothing is added or repaired."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

Headers = tuple[tuple[str, str], ...]

DEADLINE = 60.0
"""Seconds for one exchange."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; header names in lower case, in their order."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """The one value of a header; empty if there is none."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} stands there {len(values)} times"
        return values[0] if values else ""

    @property
    def decision(self) -> str:
        """The decision's id."""
        return self.header("x-demarc-decision")

    @property
    def site(self) -> str:
        """The site that served it; empty on a refusal."""
        return self.header("x-demarc-site")

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> Mapping[str, Any]:
        """The object `error` of an OpenAI-style refusal, with just the four members of OpenAI."""
        found: Mapping[str, Any] = self.json["error"]
        assert set(found) == {"message", "type", "param", "code"}
        assert isinstance(found["message"], str)
        return found

    @property
    def text(self) -> str:
        """What the assistant said in a whole answer."""
        return str(self.json["choices"][0]["message"]["content"])

    @property
    def events(self) -> tuple[str, ...]:
        """The data of each event of a stream."""
        return tuple(
            line.removeprefix("data: ")
            for line in self.body.decode().splitlines()
            if line.startswith("data: ")
        )


def head(method: str, path: str, headers: Headers) -> bytes:
    """A request's head, with nothing in it that was not given."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunked(*chunks: bytes) -> bytes:
    """A body in chunks; their sizes are those that are given."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def exchange(
    address: tuple[str, int], context: ssl.SSLContext, data: bytes, *, name: str = ""
) -> Answer:
    """Send bytes on a connection of their own and read one answer.

    Args:
        address: host and port.
        context: verifies the server.
        data: head and body.
        name: under which the server is verified; the host by default.

    Raises:
        OSError: no answer came; an `ssl.SSLError` when TLS refuses.
    """
    with (
        socket.create_connection(address, timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname=name or address[0]) as secured,
    ):
        secured.settimeout(DEADLINE)
        # a server may answer before it has read everything
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            secured.sendall(data)
        response = HTTPResponse(secured, method=data.split(b" ", 1)[0].decode())
        response.begin()
        body = response.read()
        headers = tuple((key.lower(), value) for key, value in response.getheaders())
        return Answer(response.status, headers, body)
