"""Which program stands for a container's image on this machine? The first entry whose pattern fits.

RULES
- argv is `command` (else the image's entrypoint) followed by `args`, as in Kubernetes; its first
  word is looked up in the entry, by its whole text, then by its last path component.
- An image or a program that no entry knows is an answer, `NotAvailable`, and never a guess.
- A substitute for (workload, container) replaces argv whole; the image is then not looked up, and
  only the paths of a fitting entry still hold.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_PLAIN: Final = (
    "cat", "chmod", "cp", "echo", "env", "false", "ln", "ls", "mkdir", "mv", "rm", "sha256sum",
    "sleep", "test", "touch", "true",
)  # fmt: skip
PLAIN_EXECUTABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "sh": ("/bin/sh",),
    **{name: (name,) for name in _PLAIN},
}
"""Programs that nearly every image has; they stand for themselves."""


@dataclass(frozen=True, slots=True)
class Image:
    """What this machine has in place of an image.

    Attributes:
        pattern: glob over the whole image reference, tag included: `*tritonserver*`.
        executables: program -> the words that start it here. `PLAIN_EXECUTABLES` are added.
        paths: folder in the image -> folder on this machine.
        environment: variables that the image sets; the pod's own win.
        entrypoint: what runs when the container has no `command`.
    """

    pattern: str
    executables: Mapping[str, tuple[str, ...]]
    paths: Mapping[str, str] = field(default_factory=dict[str, str])
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    entrypoint: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """What to start: the words before any `$(VAR)` is expanded, and what the image adds."""

    argv: tuple[str, ...]
    paths: Mapping[str, str]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NotAvailable:
    """Nothing on this machine stands for the container; `message` names image and command."""

    message: str


@dataclass(frozen=True, slots=True)
class ImageTable:
    """All that stands for images on one machine.

    Attributes:
        images: looked at in order; the first that fits counts.
        substitutes: (workload, container) -> argv.
    """

    images: tuple[Image, ...] = ()
    substitutes: Mapping[tuple[str, str], tuple[str, ...]] = field(
        default_factory=dict[tuple[str, str], tuple[str, ...]]
    )


def known(
    *, tools: str, python: str, llmapi: str, envoy: str = "", triton: str = ""
) -> tuple[Image, ...]:
    """The images that Demarc plans, on a machine with its tools.

    Args:
        tools: folder with `triton/bin/tritonserver` and `envoy/bin/envoy`.
        python: the interpreter that runs Demarc.
        llmapi: folder that stands for TensorRT-LLM's `/app/all_models/llmapi`.
        envoy: the binary, in place of the one in `tools`.
        triton: the same.
    """
    demarc = (python, "-m", "demarc")
    return (
        Image(
            "*tritonserver*",
            {"tritonserver": (triton or f"{tools}/triton/bin/tritonserver",)},
            paths={"/app/all_models/llmapi": llmapi},
        ),
        Image("*envoy*", {"envoy": (envoy or f"{tools}/envoy/bin/envoy",)}, entrypoint=("envoy",)),
        Image(
            "*demarc*",
            {"demarc": demarc, "python": (python,), "python3": (python,)},
            environment={"PYTHONUNBUFFERED": "1"},
            entrypoint=("demarc",),
        ),
    )


def find(
    table: ImageTable,
    *,
    workload: str,
    container: str,
    image: str,
    command: Sequence[str],
    args: Sequence[str],
) -> Program | NotAvailable:
    """The program for one container of a workload."""
    entry = _entry(table, image)
    paths = entry.paths if entry else {}
    environment = entry.environment if entry else {}
    substitute = table.substitutes.get((workload, container))
    if substitute is not None:
        return Program(substitute, paths, environment)
    words = (*(command or (entry.entrypoint if entry else ())), *args)
    shown = words[0] if words else ""
    if entry is None:
        return NotAvailable(
            f"no program on this machine stands for image `{image}` (command `{shown}`)"
        )
    if not words:
        return NotAvailable(f"image `{image}` has no entrypoint here and the container no command")
    start = _executable(entry, shown)
    if start is None:
        return NotAvailable(f"image `{image}` has no command `{shown}` on this machine")
    return Program((*start, *words[1:]), paths, environment)


def inside(table: ImageTable, *, image: str, argv: Sequence[str]) -> tuple[str, ...]:
    """The words that run a program in a container that runs already: a probe or a hook.

    A program that the image's entry does not know stands for itself; starting it may fail.
    """
    entry = _entry(table, image)
    start = _executable(entry, argv[0]) if entry and argv else None
    return (*start, *argv[1:]) if start else tuple(argv)


def _entry(table: ImageTable, image: str) -> Image | None:
    return next((row for row in table.images if fnmatch.fnmatchcase(image, row.pattern)), None)


def _executable(entry: Image, word: str) -> tuple[str, ...] | None:
    executables = {**PLAIN_EXECUTABLES, **entry.executables}
    return executables.get(word) or executables.get(word.rpartition("/")[2])
