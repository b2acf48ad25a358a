"""How is a Triton model with the llmapi tensors asked for text? Over gRPC, with one client.

Rules, each seen on a real server:
  * The answer ends where the stream ends; the flag `triton_final_response` may never be true.
  * An error of a request arrives as the second element of a pair, it is not raised.
  * An exception inside the request iterator surfaces as a cancellation: the request is built before
    the stream is opened.
  * Triton's message may quote the request, so no message of it goes on; its status does.

Source of the tensors: `triton_backend/all_models/llmapi/tensorrt_llm/config.pbtxt` of TensorRT-LLM.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from demarc.engines.generation import (
    Chunk,
    EngineError,
    EngineFailedError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    Finish,
    Generation,
)

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_CHANNEL = (
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # Triton counts pings without data that come faster than every 300 s as strikes and hangs up;
    # its option grpc-http2-min-recv-ping-interval-without-data says so
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # a restarted engine is found again at once, not after gRPC's two minutes
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # the engine is in our own pod: no proxy of the environment may stand between
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """Where the engine is.

    Attributes:
        address: host and port of Triton's gRPC service, for example `10.0.0.7:8001`.
        model: name of the Triton model.
        connect_seconds: how long a readiness question may take.
    """

    address: str
    model: str = "tensorrt_llm"
    connect_seconds: float = 2.0


class TritonEngine:
    """One engine behind one long-lived client; open it with `connect`."""

    def __init__(self, client: InferenceServerClient, options: TritonOptions) -> None:
        self._client = client
        self._options = options

    @classmethod
    @asynccontextmanager
    async def connect(cls, options: TritonOptions) -> AsyncGenerator[Self]:
        """Open the client; it connects, and connects again, when it is first needed."""
        client = InferenceServerClient(options.address, channel_args=list(_CHANNEL))
        try:
            yield cls(client, options)
        finally:
            await client.close()

    async def ready(self) -> bool:
        """Whether Triton calls the model ready; that does not prove that it can answer."""
        try:
            answer = await self._client.is_model_ready(
                self._options.model, client_timeout=self._options.connect_seconds
            )
        except InferenceServerException:
            return False
        return bool(answer)

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk]:
        """Stream the answer; closing the generator cancels the request at the engine.

        Yields:
            Chunks with the text so far. The last one has `finish`.

        Raises:
            EngineError: one of its kinds; after it the generator has ended.
        """
        request = {
            "model_name": self._options.model,
            "inputs": _inputs(generation),
            "outputs": _OUTPUTS,
        }
        stream: Any = self._client.stream_infer(
            _once(request), stream_timeout=generation.timeout_seconds
        )
        finish: Finish | None = None
        try:
            async for result, error in stream:
                if error is not None:
                    _raise(error)
                chunk = _chunk(result)
                finish = chunk.finish or finish
                yield chunk
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001  # gRPC's own errors share no base with Triton's
            _raise(error)
        finally:
            await _end(stream, finished=finish is not None)
        if finish is None:
            raise EngineFailedError("the engine ended its answer without a reason")


async def _end(stream: Any, *, finished: bool) -> None:
    """Leave a stream: a whole answer is read to the end of its stream, a part is cancelled.

    A cancel that crosses the last message leaves Triton 24.10 with a request that never ends: the
    server then waits for it until its exit timeout.
    """
    try:
        if finished:
            async with asyncio.timeout(_END_SECONDS):
                async for _ in stream:
                    pass
    except Exception:  # noqa: BLE001, S110  # the answer is whole; what follows it says nothing
        pass
    finally:
        stream.cancel()


async def _once(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request


_END_SECONDS = 1.0
"""How long the end of a stream is waited for behind its last message."""
_OUTPUTS = [InferRequestedOutput("text_output"), InferRequestedOutput("finish_reason")]


def _inputs(generation: Generation) -> list[InferInput]:
    tensors = [
        _texts("text_input", (generation.prompt.reveal(),)),
        _scalar("streaming", "BOOL", np.bool_, value=True),
        # without it the prompt comes back in front of the answer
        _scalar("sampling_param_exclude_input_from_output", "BOOL", np.bool_, value=True),
        _scalar("return_finish_reason", "BOOL", np.bool_, value=True),
        _scalar("sampling_param_max_tokens", "INT32", np.int32, value=generation.max_tokens),
    ]
    optional: tuple[tuple[str, str, Any, float | None], ...] = (
        ("sampling_param_temperature", "FP32", np.float32, generation.temperature),
        ("sampling_param_top_p", "FP32", np.float32, generation.top_p),
        ("sampling_param_top_k", "INT32", np.int32, generation.top_k),
        ("sampling_param_seed", "UINT64", np.uint64, generation.seed),
        ("sampling_param_presence_penalty", "FP32", np.float32, generation.presence_penalty),
        ("sampling_param_frequency_penalty", "FP32", np.float32, generation.frequency_penalty),
    )
    tensors += [
        _scalar(name, datatype, kind, value=value)
        for name, datatype, kind, value in optional
        if value is not None
    ]
    if generation.stop:
        tensors.append(_texts("sampling_param_stop", generation.stop))
    return tensors


def _scalar(name: str, datatype: str, kind: Any, *, value: float) -> InferInput:
    tensor = InferInput(name, [1], datatype)
    tensor.set_data_from_numpy(np.array([value], dtype=kind))
    return tensor


def _texts(name: str, values: tuple[str, ...]) -> InferInput:
    tensor = InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array([v.encode() for v in values], dtype=np.object_))
    return tensor


def _chunk(result: Any) -> Chunk:
    text = result.as_numpy("text_output")
    if text is None or text.size == 0:
        raise EngineFailedError("the engine sent a message without text")
    return Chunk(text=text.reshape(-1)[0].decode("utf-8", "replace"), finish=_finish(result))


def _finish(result: Any) -> Finish | None:
    array = result.as_numpy("finish_reason")
    if array is None or array.size == 0:
        return None
    word = array.reshape(-1)[0].decode("utf-8", "replace").lower()
    if word in {"", "none"}:
        return None
    try:
        return Finish(word)
    except ValueError:
        raise EngineFailedError("the engine gave an unknown finish reason") from None


def _raise(error: Exception) -> NoReturn:
    """Turn an error of Triton's client or of gRPC into ours, without its text."""
    status = _status(error)
    match status:
        case "UNAVAILABLE" | "NOT_FOUND" | "UNKNOWN" | "CANCELLED" | "ABORTED" | "INTERNAL":
            # An engine says what failed inside the stream and without a status. These are gRPC's
            # own, and how a stream ends whose engine was killed: another replica may answer.
            raise EngineUnavailableError(f"the engine does not answer: {status}") from None
        case "INVALID_ARGUMENT" | "OUT_OF_RANGE":
            raise EngineRefusedError(f"the engine refuses the request: {status}") from None
        case "DEADLINE_EXCEEDED":
            raise EngineTimeoutError("the engine did not finish in time") from None
        case _:
            raise EngineFailedError(f"the engine failed: {status or 'no status'}") from None


def _status(error: Exception) -> str:
    if isinstance(error, InferenceServerException):
        return str(error.status() or "").removeprefix("StatusCode.")
    code = getattr(error, "code", None)  # grpc.RpcError, which only Triton's client may import
    return str(getattr(code() if callable(code) else None, "name", ""))
