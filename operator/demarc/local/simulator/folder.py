"""What is a model folder that the simulator can load? This module makes one, always the same.

A folder has the files of a checkpoint but no weights: config.json and hf_quant_config.json state
the precision, tokenizer.json is a small byte-level vocabulary, chat_template.jinja knows tools, and
simulator.json holds the parameters of the engine. Equal arguments give equal bytes, so that the
digest can be written into a ModelDeployment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_HERE = Path(__file__).parent
_WORDS = _HERE / "llmapi" / "tensorrt_llm" / "1" / "words.txt"
_TURNS = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
# each precision as ModelOpt, Hugging Face and TensorRT-LLM write it into a checkpoint
_QUANTIZATION: Mapping[str, Mapping[str, Any]] = {
    "FP8": {"quant_method": "modelopt", "quant_algo": "FP8"},
    "NVFP4": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    "MXFP4": {"quant_method": "mxfp4"},
    "BF16": {},
    "FP16": {},
    "W4A16AWQ": {"quant_method": "awq", "bits": 4},
    "W4A8AWQ": {"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"},
    "W4A16GPTQ": {"quant_method": "gptq", "bits": 4},
}


def make(
    path: Path,
    *,
    name: str,
    precision: str = "FP8",
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Write a model folder.

    Args:
        path: the folder; created if absent, files in it of the same names are replaced.
        name: goes into config.json, so that two models have two digests.
        precision: a value of `Precision`.
        parameters: content of simulator.json, for example
            `{"timePerTokenMilliseconds": 5, "broken": "Error"}`; the names are those of
            `simulation.Parameters` in camel case.

    Raises:
        KeyError: the precision is unknown.
    """
    quantization = dict(_QUANTIZATION[precision])
    config: dict[str, Any] = {
        "_name_or_path": name,
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "max_position_embeddings": 131072,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "torch_dtype": "float16" if precision == "FP16" else "bfloat16",
    }
    files: dict[str, str] = {
        "chat_template.jinja": (_HERE / "chat_template.jinja").read_text("utf-8"),
        "generation_config.json": _json({"temperature": 1.0, "top_p": 1.0}),
        "simulator.json": _json(dict(parameters or {})),
        "tokenizer.json": _tokenizer().to_str(pretty=False),
        "tokenizer_config.json": _json(
            {"eos_token": "<|end|>", "tokenizer_class": "PreTrainedTokenizerFast"}
        ),
    }
    if quantization:
        config["quantization_config"] = quantization
    if "quant_algo" in quantization:
        files["hf_quant_config.json"] = _json(
            {
                "producer": {"name": "modelopt"},
                "quantization": {"quant_algo": quantization["quant_algo"]},
            }
        )
    files["config.json"] = _json(config)
    path.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (path / file).write_text(content, "utf-8")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _tokenizer() -> Tokenizer:
    """Train the vocabulary: each word of the simulator is one token, also behind a blank."""
    words = _WORDS.read_text("utf-8").split()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,
        min_frequency=1,
        show_progress=False,
        special_tokens=list(_TURNS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([text for word in words for text in (word, f" {word}")], trainer)
    return tokenizer
