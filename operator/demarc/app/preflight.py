"""Can this machine run it? One line that says what is missing and what to do; empty if nothing."""

from __future__ import annotations

import os
import platform
import sys

from demarc.settings import Settings

_PYTHON = (3, 11)
_GLIBC = (2, 35)
_HIGHEST_PORT = 65535
_FIRST_FREE_PORT = 1024


def check(settings: Settings, port: int) -> str:
    """The first thing that is missing."""
    if sys.version_info < _PYTHON:
        return f"Python {platform.python_version()} is too old: use 3.11 or newer"
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return (
            f"{platform.system()} on {platform.machine()} is not supported: the engines and "
            "Envoy are built for Linux on x86-64"
        )
    name, version = platform.libc_ver()
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if name == "glibc" and parts < _GLIBC:
        return f"glibc {version} is too old: Triton needs 2.35 or newer"
    for label, binary in (("Envoy", settings.envoy), ("Triton", settings.triton)):
        if not (binary.is_file() and os.access(binary, os.X_OK)):
            return f"{label} is not at {binary}: run `make tools`"
    if not 1 <= port <= _HIGHEST_PORT:
        return f"port {port} is no port: use 1 to 65535"
    if port < _FIRST_FREE_PORT and os.geteuid() != 0:
        return f"port {port} needs root: use 1024 or higher"
    return ""
