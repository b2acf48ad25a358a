"""Who answers behind both gateways? A server that costs little, so that the gateways are measured.

Mutual TLS 1.3 and HTTP/1.1 as the real frontend has them, and constant answers. A stream is written
chunk by chunk, each in a turn of its own, so that a gateway reads it as it reads an engine's.

    upstream.py ADDRESS PORT FOLDER     FOLDER has tls.crt, tls.key, ca.crt
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
from pathlib import Path

import bodies

_READ = 256 * 1024
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Connection:
    """One connection of a gateway: requests come one after the other."""

    __slots__ = ("buffer", "is_open", "need", "parts", "sock")

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.buffer = bytearray()
        self.need = 0
        self.parts: tuple[bytes, ...] = ()
        self.is_open = False

    def request(self) -> bytes | None:
        """The first bytes of the body of a request that is there as a whole."""
        buffer = self.buffer
        if not self.need:
            head = buffer.find(_HEAD_END)
            if head < 0:
                return None
            start = buffer.lower().index(_LENGTH, 0, head) + len(_LENGTH)
            length = int(buffer[start : buffer.index(b"\r\n", start)])
            self.need = head + len(_HEAD_END) + length
            del buffer[: head + len(_HEAD_END)]
            self.need = length
        if len(buffer) < self.need:
            return None
        begin = bytes(buffer[: len(bodies.STREAM_MARK)])
        del buffer[: self.need]
        self.need = 0
        return begin


class Upstream:
    """All connections, in one loop."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        self._listener = listener
        self._context = context
        self._poll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._streaming: list[Connection] = []
        self._whole = bodies.answer()
        self._parts = bodies.streamed_answer()
        self._poll.register(listener, select.EPOLLIN)

    def run(self) -> None:
        """Serve until the process is ended."""
        while True:
            for descriptor, _ in self._poll.poll(0 if self._streaming else -1):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._serve(self._open[descriptor])
            self._stream()

    def _accept(self) -> None:
        raw, _ = self._listener.accept()
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setblocking(False)
        sock = self._context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        self._open[sock.fileno()] = Connection(sock)
        self._poll.register(sock, select.EPOLLIN)

    def _serve(self, connection: Connection) -> None:
        try:
            if not connection.is_open:
                connection.sock.do_handshake()
                connection.is_open = True
            self._read(connection)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass  # of a handshake: what it writes fits into the socket's buffer the next time
        except OSError:
            self._close(connection)
            return
        if (begin := connection.request()) is None:
            return
        if begin == bodies.STREAM_MARK:
            connection.parts = self._parts
            self._streaming.append(connection)
        else:
            self._write(connection, self._whole)

    def _read(self, connection: Connection) -> None:
        while True:
            data = connection.sock.recv(_READ)
            if not data:
                raise ConnectionResetError
            connection.buffer += data
            if not connection.sock.pending() and len(data) < 16 * 1024:
                # a whole record and no other in sight: a further read would only say so
                return

    def _stream(self) -> None:
        """The next chunk of every answer that is being streamed."""
        going = self._streaming
        self._streaming = []
        for connection in going:
            self._write(connection, connection.parts[0])
            connection.parts = connection.parts[1:]
            if connection.parts:
                self._streaming.append(connection)

    def _write(self, connection: Connection, data: bytes) -> None:
        try:
            # small answers fit into the socket's buffer: a gateway that reads none is a fault
            sent = connection.sock.send(data)
            assert sent == len(data), "the gateway does not read"
        except OSError:
            connection.parts = ()
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        descriptor = connection.sock.fileno()
        if descriptor in self._open:
            del self._open[descriptor]
            self._poll.unregister(descriptor)
            connection.sock.close()


def main(address: str, port: int, folder: Path) -> None:
    """Serve; prints a line once it listens."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server((address, port), backlog=1024)
    listener.setblocking(False)
    print("listening", flush=True)
    Upstream(listener, context).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
