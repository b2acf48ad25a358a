"""Does a container get the program that stands for its image, and no other?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from demarc.local import images
from demarc.local.images import Image, ImageTable, NotAvailable, Program

TRITON = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
ENVOY = "docker.io/envoyproxy/envoy:distroless-v1.40.0"
DEMARC = "demarc.dev/demarc:0.1.0"
TABLE = ImageTable(images.known(tools="/tools", python="/bin/python", llmapi="/simulator"))


def find(
    image: str,
    command: Sequence[str] = (),
    args: Sequence[str] = (),
    substitutes: Mapping[tuple[str, str], tuple[str, ...]] | None = None,
) -> Program | NotAvailable:
    return images.find(
        ImageTable(TABLE.images, substitutes or {}),
        workload="glm",
        container="triton",
        image=image,
        command=command,
        args=args,
    )


@pytest.mark.parametrize(
    "image,command,args,want_argv",
    [
        (TRITON, ["tritonserver"], ["-v"], ("/tools/triton/bin/tritonserver", "-v")),
        (TRITON, ["/opt/tritonserver/bin/tritonserver"], [], ("/tools/triton/bin/tritonserver",)),
        (TRITON, ["/bin/sh", "-ec"], ["cp a b"], ("/bin/sh", "-ec", "cp a b")),
        (ENVOY, [], ["-c", "x"], ("/tools/envoy/bin/envoy", "-c", "x")),
        (ENVOY, ["envoy"], [], ("/tools/envoy/bin/envoy",)),
        (DEMARC, ["demarc"], ["agent"], ("/bin/python", "-m", "demarc", "agent")),
        (DEMARC, [], ["agent"], ("/bin/python", "-m", "demarc", "agent")),
    ],
)
def test_known_images_have_programs(
    image: str, command: list[str], args: list[str], want_argv: tuple[str, ...]
) -> None:
    found = find(image, command, args)

    assert isinstance(found, Program)
    assert want_argv == found.argv


@pytest.mark.parametrize(
    "image,command,want",
    [
        ("postgres:17", ["serve"], "no program on this machine stands for image `postgres:17`"),
        (TRITON, ["mpirun"], f"image `{TRITON}` has no command `mpirun`"),
        (TRITON, [], f"image `{TRITON}` has no entrypoint here"),
    ],
)
def test_what_is_not_known_is_named(image: str, command: list[str], want: str) -> None:
    found = find(image, command)

    assert isinstance(found, NotAvailable)
    assert found.message.startswith(want)


def test_the_first_fitting_pattern_counts() -> None:
    table = ImageTable((Image("*a*", {"x": ("one",)}), Image("*", {"x": ("two",)})))
    found = [
        images.find(table, workload="w", container="c", image=image, command=("x",), args=())
        for image in ("a", "b")
    ]

    assert [Program(("one",), {}, {}), Program(("two",), {}, {})] == found


def test_a_substitute_replaces_the_whole_command_and_keeps_the_images_paths() -> None:
    found = find(TRITON, ["tritonserver"], ["-v"], {("glm", "triton"): ("double", "--x")})

    assert Program(("double", "--x"), {"/app/all_models/llmapi": "/simulator"}, {}) == found


def test_binaries_can_be_named() -> None:
    table = ImageTable(
        images.known(tools="/t", python="p", llmapi="l", envoy="/my/envoy", triton="/my/triton")
    )

    assert ("/my/envoy",) == images.inside(table, image=ENVOY, argv=("envoy",))
    assert ("/my/triton", "-v") == images.inside(table, image=TRITON, argv=("tritonserver", "-v"))


def test_a_program_beside_the_container_stands_for_itself_when_nobody_knows_it() -> None:
    assert ("curl", "x") == images.inside(TABLE, image=TRITON, argv=("curl", "x"))
    assert ("curl",) == images.inside(TABLE, image="other", argv=("curl",))
