"""Are these the weights that the ModelDeployment names, in the precision that it names?

The digest of a folder is the SHA-256 over the sorted lines that `sha256sum` prints for its files:
    (cd FOLDER && find -L . -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum)
A link to a file of the same folder counts as that file. A link that leads out, or to a folder, is
refused: what it names could change without the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from demarc.api.v1alpha1.model_deployment import Precision


# ModelFolderError             the folder is not what was declared
# ├── FolderMissingError       there is no such folder, or nothing in it
# ├── DigestMismatchError      its files are not the declared ones
# └── PrecisionMismatchError   the checkpoint has another number format, or an unknown one
class ModelFolderError(Exception):
    """The folder is not what was declared; the message says what was found."""


class FolderMissingError(ModelFolderError):
    """There is no such folder, or nothing in it."""


class DigestMismatchError(ModelFolderError):
    """The files of the folder are not the declared ones."""


class PrecisionMismatchError(ModelFolderError):
    """The checkpoint has another number format than declared."""


def digest(files: Iterable[tuple[str, str]]) -> str:
    r"""Compute the digest of a model folder from the digests of its files.

    Args:
        files: pairs of path inside the folder, with `/` and without `./`, and lower-case hex
            SHA-256 of the content; in any order. `\` and line breaks are escaped as GNU sha256sum
            does.

    Returns:
        `sha256:` and 64 hex digits.
    """
    lines = sorted(_line(path, content) for path, content in files)
    return f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}"


def _line(path: str, content: str) -> bytes:
    name = f"./{path}"
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return f"{mark}{content}  {escaped}\n".encode("utf-8", "surrogateescape")


def read_digest(folder: Path) -> str:
    """Read every file of a folder and compute its digest.

    Raises:
        ModelFolderError: the folder is missing, empty or unreadable, or a link leads out of it.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise FolderMissingError(f"`{folder}` is not a folder")
    try:
        files = [
            (path.relative_to(root).as_posix(), _sha256(path, root))
            for path in root.rglob("*")
            if path.is_symlink() or not path.is_dir()
        ]
    except OSError as error:
        raise ModelFolderError(f"cannot read the model folder: {error}") from error
    if not files:
        raise FolderMissingError(f"`{folder}` holds no files")
    return digest(files)


def _sha256(path: Path, root: Path) -> str:
    target = path.resolve()
    name = path.relative_to(root).as_posix()
    if not target.is_relative_to(root):
        raise ModelFolderError(f"`{name}` leads out of the model folder")
    if not target.is_file():
        raise ModelFolderError(f"`{name}` is neither a file nor a folder")
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path, expected_digest: str, precision: Precision) -> None:
    """Compare a model folder with what its ModelDeployment declares.

    Raises:
        ModelFolderError: digest or precision differ, or the folder cannot be read.
    """
    found = read_digest(folder)
    if found != expected_digest:
        raise DigestMismatchError(
            f"the model folder has digest {found}, declared is {expected_digest}"
        )
    actual = read_precision(folder)
    if actual is not precision:
        raise PrecisionMismatchError(f"the checkpoint is {actual}, declared is {precision}")


def read_precision(folder: Path) -> Precision:
    """Read the precision of a checkpoint from hf_quant_config.json and config.json.

    Raises:
        ModelFolderError: config.json is missing or says something that is not understood.
    """
    config = _read_object(folder / "config.json")
    path = folder / "hf_quant_config.json"
    model_opt = _read_object(path) if path.exists() else None
    return precision_of(config, model_opt)


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelFolderError(f"the model folder has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"cannot read {path.name}: {error}") from error
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path.name} is not a JSON object")
    return value


_MODEL_OPT: Mapping[str, Precision] = {
    "FP8": Precision.FP8,
    "FP8_PB_WO": Precision.FP8,
    "FP8_BLOCK_SCALES": Precision.FP8,
    "FP8_PER_CHANNEL_PER_TOKEN": Precision.FP8,
    "NVFP4": Precision.NVFP4,
    "W4A16_AWQ": Precision.W4A16_AWQ,
    "W4A8_AWQ": Precision.W4A8_AWQ,
    "W4A16_GPTQ": Precision.W4A16_GPTQ,
}
_PLAIN: Mapping[str, Precision] = {"bfloat16": Precision.BF16, "float16": Precision.FP16}
_FOUR_BITS = 4
_EIGHT_BITS = 8


def precision_of(config: Mapping[str, Any], model_opt: Mapping[str, Any] | None) -> Precision:
    """Tell the precision of a checkpoint.

    Args:
        config: content of config.json.
        model_opt: content of hf_quant_config.json, which ModelOpt writes; it decides when present.

    Raises:
        ModelFolderError: none of the known forms fits.
    """
    if model_opt is not None:
        return _known(_MODEL_OPT, _object(model_opt, "quantization").get("quant_algo"))
    text = config if "text_config" not in config else {**_object(config, "text_config"), **config}
    if text.get("quantization_config") is not None:
        return _quantized(_object(text, "quantization_config"))
    return _known(_PLAIN, text.get("dtype", text.get("torch_dtype")))


def _quantized(quantization: Mapping[str, Any]) -> Precision:
    method, bits = quantization.get("quant_method"), quantization.get("bits")
    match method:
        case "modelopt" | "modelopt_fp4":
            return _known(_MODEL_OPT, quantization.get("quant_algo"))
        case "fp8" | "fbgemm_fp8":
            return Precision.FP8
        case "mxfp4":
            return Precision.MXFP4
        case "awq" if bits == _FOUR_BITS:
            return Precision.W4A16_AWQ
        case "gptq" if bits == _FOUR_BITS:
            return Precision.W4A16_GPTQ
        case "compressed-tensors":
            return _compressed(quantization)
        case _:
            raise ModelFolderError(f"config.json has an unknown quantization `{method}`")


def _compressed(quantization: Mapping[str, Any]) -> Precision:
    groups = _object(quantization, "config_groups").values()
    weights = [group.get("weights") for group in groups if isinstance(group, dict)]
    forms = {
        (row.get("type"), row.get("num_bits")) if isinstance(row, dict) else None for row in weights
    }
    if forms == {("float", _EIGHT_BITS)}:
        return Precision.FP8
    if forms == {("float", _FOUR_BITS)} and quantization.get("format") == "nvfp4-pack-quantized":
        return Precision.NVFP4
    raise ModelFolderError("config.json has compressed tensors of an unknown form")


def _object(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise ModelFolderError(f"`{key}` is not an object")
    return value


def _known(table: Mapping[str, Precision], word: object) -> Precision:
    found = table.get(word) if isinstance(word, str) else None
    if found is None:
        raise ModelFolderError(f"the checkpoint has an unknown number format `{word}`")
    return found
