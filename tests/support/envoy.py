"""How do tests run a real Envoy? Certificates in folders, files in a run folder, one process."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ARGUMENTS = (
    "--disable-hot-restart",
    "--reject-unknown-dynamic-fields",
    "--concurrency",
    "1",
    "--drain-time-s",
    "1",
    "--drain-strategy",
    "immediate",
    "--file-flush-min-size-kb",
    "0",
    "--log-level",
    "warning",
)


def binary() -> str | None:
    """Path of Envoy: ENVOY_BIN, the tools folder, or PATH; None without one."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    tools = os.environ.get("DEMARC_TOOLS") or f"{cache}/demarc/tools"
    for found in (os.environ.get("ENVOY_BIN"), f"{tools}/envoy/bin/envoy", shutil.which("envoy")):
        if found and Path(found).exists():
            return found
    return None


class Names:
    """A certificate authority whose leaves carry SPIFFE names."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(basic, critical=True)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def folder(self, where: Path, uri: str, *dns: str) -> Path:
        """Write tls.crt, tls.key and ca.crt as a mounted Secret: files behind one link."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
        names += [x509.DNSName(name) for name in dns]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        leaf = (
            self._builder(subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        content = {
            "tls.crt": leaf.public_bytes(serialization.Encoding.PEM),
            "tls.key": key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            "ca.crt": self.certificate,
        }
        mount(where, content)
        return where

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )


def mount(where: Path, content: Mapping[str, bytes]) -> None:
    """Write files as the kubelet does: a new folder, then `..data` renamed to point at it."""
    where.mkdir(parents=True, exist_ok=True)
    version = f"..{len(tuple(where.iterdir()))}_{os.urandom(4).hex()}"
    (where / version).mkdir()
    for name, data in content.items():
        (where / version / name).write_bytes(data)
        if not (where / name).is_symlink():
            (where / name).symlink_to(f"..data/{name}")
    (where / "..data_tmp").symlink_to(version)
    (where / "..data_tmp").rename(where / "..data")


def server_context(folder: Path) -> ssl.SSLContext:
    """A server that requires a client certificate of the same authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(folder: Path, *, proves: bool) -> ssl.SSLContext:
    """A client that trusts the authority; with `proves` it shows its own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(folder / "ca.crt")
    if proves:
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


@dataclass
class Envoy:
    """One Envoy over a run folder."""

    binary: str
    run: Path
    process: asyncio.subprocess.Process | None = None

    def write(self, name: str, text: str) -> None:
        """Write beside and rename, as the agent does."""
        beside = self.run / f".{name}.new"
        beside.write_text(text)
        beside.rename(self.run / name)

    def write_all(self, files: Mapping[str, str]) -> None:
        """Write every file."""
        for name, text in files.items():
            self.write(name, text)

    async def validate(self) -> tuple[int, str]:
        """Exit status and messages of `--mode validate`."""
        config = str(self.run / "bootstrap.json")
        process = await self._run(["--config-path", config, "--mode", "validate", *ARGUMENTS])
        _, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, errors.decode()

    async def start(self) -> None:
        """Start without waiting."""
        config = str(self.run / "bootstrap.json")
        with (self.run / "envoy.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                self.binary, "--config-path", config, *ARGUMENTS, stdout=log, stderr=log
            )

    async def stop(self) -> None:
        """End the process."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    @property
    def messages(self) -> str:
        """What Envoy has printed."""
        return (self.run / "envoy.log").read_text()

    async def _run(self, arguments: Sequence[str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            self.binary,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
