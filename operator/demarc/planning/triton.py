"""Which Triton model repository serves a checkpoint through TensorRT-LLM's LLM API?

Rules: `decoupled` is said twice, in model.yaml and in config.pbtxt (a model that says it only in
one place hangs on the first stream); only keys that `LLM()` takes stand in model.yaml, since an
unknown key fails the load. Tensors: NVIDIA/TensorRT-LLM
`triton_backend/all_models/llmapi/tensorrt_llm/config.pbtxt`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from demarc.api.v1alpha1.model_deployment import Engine

MODEL: Final = "tensorrt_llm"
"""Name of the Triton model, as upstream has it."""
MODEL_DIR_MARK: Final = "@MODEL_DIR@"
"""Stands for the model folder, whose path only the pod knows."""

_INPUTS: Final[tuple[tuple[str, str, int, bool], ...]] = (
    ("text_input", "TYPE_STRING", -1, False),
    ("streaming", "TYPE_BOOL", 1, True),
    ("sampling_param_max_tokens", "TYPE_INT32", 1, True),
    ("sampling_param_top_k", "TYPE_INT32", 1, True),
    ("sampling_param_best_of", "TYPE_INT32", 1, True),
    ("sampling_param_temperature", "TYPE_FP32", 1, True),
    ("sampling_param_top_p", "TYPE_FP32", 1, True),
    ("sampling_param_frequency_penalty", "TYPE_FP32", 1, True),
    ("sampling_param_presence_penalty", "TYPE_FP32", 1, True),
    ("sampling_param_stop", "TYPE_STRING", -1, True),
    ("sampling_param_seed", "TYPE_UINT64", 1, True),
    ("sampling_param_exclude_input_from_output", "TYPE_BOOL", 1, True),
    ("sampling_param_return_perf_metrics", "TYPE_BOOL", 1, True),
    ("return_finish_reason", "TYPE_BOOL", 1, True),
    ("return_stop_reason", "TYPE_BOOL", 1, True),
    ("return_cumulative_logprob", "TYPE_BOOL", 1, True),
    ("stop", "TYPE_BOOL", 1, True),
)
_OUTPUTS: Final[tuple[tuple[str, str], ...]] = (
    ("text_output", "TYPE_STRING"),
    ("finish_reason", "TYPE_STRING"),
    ("stop_reason", "TYPE_STRING"),
    ("cumulative_logprob", "TYPE_FP32"),
)
_KV_DTYPE: Final = {"Auto": "auto", "FP8": "fp8"}


def config_pbtxt() -> str:
    """The Triton model configuration, a protobuf text `ModelConfig`."""
    lines = [
        f'name: "{MODEL}"',
        'backend: "python"',
        "max_batch_size: 0",
        "model_transaction_policy { decoupled: true }",
    ]
    for name, dtype, size, optional in _INPUTS:
        tail = " optional: true" if optional else ""
        lines.append(f'input {{ name: "{name}" data_type: {dtype} dims: [ {size} ]{tail} }}')
    lines += [
        f'output {{ name: "{name}" data_type: {dtype} dims: [ -1 ] }}' for name, dtype in _OUTPUTS
    ]
    lines.append("instance_group { count: 1 kind: KIND_CPU }")
    return "\n".join(lines) + "\n"


def llm_arguments(engine: Engine) -> Mapping[str, Any]:
    """Keyword arguments of `tensorrt_llm.LLM`, all of them in `TorchLlmArgs` since 1.0."""
    cache: dict[str, Any] = {
        "enable_block_reuse": False,
        "free_gpu_memory_fraction": 0.9,
        "dtype": "auto",
    }
    if engine.kv_cache is not None:
        kv = engine.kv_cache
        cache["enable_block_reuse"] = kv.block_reuse == "Enabled"
        if kv.free_memory_percent is not None:
            cache["free_gpu_memory_fraction"] = kv.free_memory_percent / 100
        if kv.dtype is not None:
            cache["dtype"] = _KV_DTYPE[kv.dtype]
    return {
        "model": MODEL_DIR_MARK,
        "tensor_parallel_size": engine.parallelism.tensor,
        "pipeline_parallel_size": engine.parallelism.pipeline,
        "max_batch_size": engine.limits.max_batch_size,
        "max_seq_len": engine.limits.max_sequence_tokens,
        "max_num_tokens": engine.limits.max_batch_tokens,
        "kv_cache_config": cache,
    }


def model_yaml(engine: Engine) -> str:
    """`1/model.yaml`: arguments of the LLM and the two mandatory keys of `triton_config`.

    JSON is YAML, and its text is the same for the same value.
    """
    content = {
        **llm_arguments(engine),
        "triton_config": {
            "max_batch_size": 0,
            "decoupled": True,
            "cancellation_check_period_ms": 100,
        },
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
