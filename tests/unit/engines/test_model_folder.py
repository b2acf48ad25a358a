"""Is a model folder that differs in one bit, name or number format noticed?"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.api.v1alpha1.model_deployment import Precision
from demarc.engines import model_folder
from demarc.engines.model_folder import ModelFolderError
from demarc.local.simulator import folder

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
SUMS = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
FILES = st.dictionaries(NAMES, SUMS, min_size=1, max_size=5)


@given(FILES)
def test_the_order_of_the_files_does_not_matter(files: dict[str, str]) -> None:
    rows = list(files.items())

    assert model_folder.digest(rows) == model_folder.digest(reversed(rows))


@given(FILES, FILES)
def test_other_files_have_another_digest(one: dict[str, str], two: dict[str, str]) -> None:
    same = model_folder.digest(one.items()) == model_folder.digest(two.items())

    assert (one == two) is same


def test_the_digest_is_what_sha256sum_gives(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b", "a", "sub/c d", "new\nline", "x\\y"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("a")
    command = "find -L . -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum"
    want = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.split()[0]

    assert f"sha256:{want}" == model_folder.read_digest(tmp_path)


def test_a_changed_folder_is_refused(tmp_path: Path) -> None:
    folder.make(tmp_path, name="m")
    declared = model_folder.read_digest(tmp_path)
    model_folder.verify(tmp_path, declared, Precision.FP8)

    (tmp_path / "simulator.json").write_text("{} ")

    with pytest.raises(ModelFolderError, match=f"declared is {declared}"):
        model_folder.verify(tmp_path, declared, Precision.FP8)


def test_the_same_arguments_make_the_same_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder.make(tmp_path / name, name="m", parameters={"maxAnswerTokens": 9})
    folder.make(tmp_path / "three", name="other", parameters={"maxAnswerTokens": 9})

    one, two, three = (model_folder.read_digest(tmp_path / n) for n in ("one", "two", "three"))
    assert one == two
    assert one != three


@pytest.mark.parametrize("precision", list(Precision))
def test_every_precision_is_told_from_its_checkpoint(tmp_path: Path, precision: Precision) -> None:
    folder.make(tmp_path, name="m", precision=precision.value)

    assert precision is model_folder.read_precision(tmp_path)


def test_another_precision_is_refused(tmp_path: Path) -> None:
    folder.make(tmp_path, name="m", precision="BF16")
    declared = model_folder.read_digest(tmp_path)

    with pytest.raises(ModelFolderError, match="the checkpoint is BF16, declared is FP8"):
        model_folder.verify(tmp_path, declared, Precision.FP8)


@pytest.mark.parametrize(
    "config,model_opt,want",
    [
        ({"dtype": "bfloat16"}, None, Precision.BF16),
        ({"torch_dtype": "float16"}, None, Precision.FP16),
        ({"text_config": {"dtype": "bfloat16"}}, None, Precision.BF16),
        (
            {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
            None,
            Precision.FP8,
        ),
        ({"dtype": "bfloat16"}, {"quantization": {"quant_algo": "NVFP4"}}, Precision.NVFP4),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "format": "float-quantized",
                    "config_groups": {"g": {"weights": {"type": "float", "num_bits": 8}}},
                }
            },
            None,
            Precision.FP8,
        ),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "format": "nvfp4-pack-quantized",
                    "config_groups": {"g": {"weights": {"type": "float", "num_bits": 4}}},
                }
            },
            None,
            Precision.NVFP4,
        ),
    ],
)
def test_the_forms_of_checkpoints_are_known(
    config: dict[str, Any], model_opt: dict[str, Any] | None, want: Precision
) -> None:
    assert want is model_folder.precision_of(config, model_opt)


@pytest.mark.parametrize(
    "config,model_opt",
    [
        ({}, None),
        ({"dtype": "float32"}, None),
        ({"dtype": ["bfloat16"]}, None),
        ({"quantization_config": {"quant_method": "awq", "bits": 8}}, None),
        ({"quantization_config": {"quant_method": "new"}}, None),
        ({"quantization_config": "fp8"}, None),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, None),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {
                        "a": {"weights": {"type": "float", "num_bits": 8}},
                        "b": {"weights": {"type": "int", "num_bits": 4}},
                    },
                }
            },
            None,
        ),
        ({"dtype": "bfloat16"}, {"quantization": {"quant_algo": "MIXED_PRECISION"}}),
        ({"dtype": "bfloat16"}, {}),
    ],
)
def test_what_is_not_understood_is_refused(
    config: dict[str, Any], model_opt: dict[str, Any] | None
) -> None:
    with pytest.raises(ModelFolderError):
        model_folder.precision_of(config, model_opt)


def test_links_that_escape_the_digest_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "weights").write_text("1")
    for number, target in enumerate((outside / "weights", outside, Path("missing"))):
        inside = tmp_path / f"model{number}"
        folder.make(inside, name="m")
        (inside / "link").symlink_to(target)
        with pytest.raises(ModelFolderError):
            model_folder.read_digest(inside)


def test_a_link_to_a_folder_inside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("1")
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(ModelFolderError, match="neither a file nor a folder"):
        model_folder.read_digest(tmp_path)


@pytest.mark.parametrize("content", [None, "[]", "{"])
def test_a_folder_without_a_configuration_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)

    with pytest.raises(ModelFolderError, match=r"config\.json"):
        model_folder.read_precision(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="is not a folder"):
        model_folder.read_digest(tmp_path / "absent")
    with pytest.raises(ModelFolderError, match="holds no files"):
        model_folder.read_digest(tmp_path)


def test_one_line_is_hashed_as_written() -> None:
    content = hashlib.sha256(b"x").hexdigest()
    want = hashlib.sha256(f"{content}  ./a/b\n".encode()).hexdigest()

    assert f"sha256:{want}" == model_folder.digest([("a/b", content)])
    assert json.loads('"sha256"') == model_folder.digest([("a", content)]).split(":")[0]
