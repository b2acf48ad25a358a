"""How does the simulated engine speak through Triton? With the tensors and vices of llmapi.

The vices, kept on purpose: the text of a stream is the whole text so far; the prompt is echoed
unless excluded; there are no token counts; a cancel is seen at the next check; a stream needs
`triton_config.decoupled`; the model is READY however broken it is.
"""
# ruff: noqa: INP001  # Triton wants this folder, whose name is a number
# ruff: noqa: TID251  # runs inside Triton, where the environment is all there is

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import simulation
import triton_python_backend_utils as pb_utils  # provided by Triton's Python backend
import yaml

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def _configuration() -> simulation.EngineArguments:
    name = os.environ.get("LLM_CONFIG_PATH", "model.yaml")
    path = Path(pb_utils.get_model_dir()) / name
    return simulation.engine_arguments(yaml.safe_load(path.read_text("utf-8")))


class TritonPythonModel:
    """The model `tensorrt_llm`."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Take batch size and transaction policy from model.yaml."""
        arguments = _configuration()
        auto_complete_model_config.set_max_batch_size(0)
        auto_complete_model_config.set_model_transaction_policy({"decoupled": arguments.decoupled})
        return auto_complete_model_config

    def initialize(self, _args: dict[str, str]) -> None:
        """Load the model folder and start the engine loop."""
        self.arguments = _configuration()
        self.folder = Path(self.arguments.model)
        self.parameters = simulation.read_parameters(self.folder)
        self.stamp = self._stamp()
        words = Path(pb_utils.get_model_dir()) / "words.txt"
        self.words = tuple(words.read_text("utf-8").split())
        recording = os.environ.get("DEMARC_REHEARSAL_RECORDING")
        self.recording = Path(recording) if recording else None
        time.sleep(self.parameters.load_delay_milliseconds / 1000)
        self.queue = simulation.Queue()
        self.admitted: dict[object, asyncio.Event] = {}
        self.outstanding = 0
        self.idle = threading.Condition()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Hand the requests to the engine loop and return at once: Triton's queue never fills."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._refresh()
                prompt, sampling, flags = self._read(request)
                self._record(prompt)
            except Exception as error:  # noqa: BLE001  # every fault is the request's answer
                _fail(sender, str(error))
                continue
            with self.idle:
                self.outstanding += 1
            asyncio.run_coroutine_threadsafe(
                self._serve(request, sender, prompt, sampling, flags), self.loop
            )

    def finalize(self) -> None:
        """Wait for the outstanding requests, as the original does."""
        with self.idle:
            self.idle.wait_for(lambda: self.outstanding == 0)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def _serve(
        self,
        request: Any,
        sender: Any,
        prompt: str,
        sampling: simulation.Sampling,
        flags: dict[str, bool],
    ) -> None:
        try:
            await self._generate(request, sender, prompt, sampling, flags)
        except Exception as error:  # noqa: BLE001  # every fault is the request's answer
            _fail(sender, str(error))
        finally:
            with self.idle:
                self.outstanding -= 1
                self.idle.notify_all()

    async def _generate(
        self,
        request: Any,
        sender: Any,
        prompt: str,
        sampling: simulation.Sampling,
        flags: dict[str, bool],
    ) -> None:
        sampling = sampling.within(len(simulation.pieces(prompt)), self.arguments.max_seq_len)
        size = len(simulation.pieces(prompt)) + sampling.max_tokens
        watch = _Watch(request, self.arguments.cancellation_check_period_ms / 1000)
        ticket = object()
        self.queue.ask(ticket, size, self.parameters)
        self.admitted[ticket] = asyncio.Event()
        self._admit()
        if not await watch.until(self.admitted[ticket]):
            if not self.admitted.pop(ticket).is_set():
                self.queue.forget(ticket)
            else:
                self._leave(size)
            _send(sender, flags, simulation.Step("", "cancelled"), prompt, last=True)
            return
        del self.admitted[ticket]
        try:
            await self._run(sender, prompt, sampling, flags, watch)
        finally:
            self._leave(size)

    async def _run(
        self,
        sender: Any,
        prompt: str,
        sampling: simulation.Sampling,
        flags: dict[str, bool],
        watch: _Watch,
    ) -> None:
        if self.parameters.broken == "Hang":
            await watch.until(asyncio.Event())
            _send(sender, flags, simulation.Step("", "cancelled"), prompt, last=True)
            return
        tokens = simulation.answer(prompt, sampling, self.parameters, self.words)
        plan = simulation.steps(tokens, sampling)
        # the clock of the whole answer is fixed here, so that a late loop does not slow the engine
        begin = self.loop.time() + self.parameters.time_to_first_token_milliseconds / 1000
        each = self.parameters.time_per_token_milliseconds / 1000
        said = simulation.Step("")
        for number, step in enumerate(plan):
            if not await watch.sleep_until(begin + number * each):
                _send(sender, flags, simulation.Step(said.text, "cancelled"), prompt, last=True)
                return
            said = step
            if flags["streaming"] or step.finish is not None:
                _send(sender, flags, step, prompt, last=step.finish is not None)

    def _admit(self) -> None:
        for ticket in self.queue.admit(self.parameters):
            self.admitted[ticket].set()

    def _leave(self, size: int) -> None:
        self.queue.leave(size)
        self._admit()

    def _read(self, request: Any) -> tuple[str, simulation.Sampling, dict[str, bool]]:
        text = _array(request, "text_input")
        if text is None or text.ndim != 1 or text.size == 0:
            raise simulation.SimulationError("text_input must be a list with one text")
        stop = _array(request, "sampling_param_stop")
        flags = {
            "streaming": _scalar(request, "streaming", bool) or False,
            "exclude": _scalar(request, "sampling_param_exclude_input_from_output", bool) or False,
            "finish_reason": _scalar(request, "return_finish_reason", bool) or False,
            "stop_reason": _scalar(request, "return_stop_reason", bool) or False,
            "cumulative_logprob": _scalar(request, "return_cumulative_logprob", bool) or False,
        }
        if flags["streaming"] and not self.arguments.decoupled:
            raise simulation.SimulationError("streaming is only supported in decoupled mode")
        if _scalar(request, "stop", bool):
            raise simulation.SimulationError("cancel by a second request is not simulated")
        sampling = simulation.Sampling(
            max_tokens=_scalar(request, "sampling_param_max_tokens", int) or 32,
            temperature=_scalar(request, "sampling_param_temperature", float),
            top_p=_scalar(request, "sampling_param_top_p", float),
            top_k=_scalar(request, "sampling_param_top_k", int),
            frequency_penalty=_scalar(request, "sampling_param_frequency_penalty", float),
            presence_penalty=_scalar(request, "sampling_param_presence_penalty", float),
            seed=_scalar(request, "sampling_param_seed", int),
            stop=() if stop is None else tuple(s.decode("utf-8") for s in stop),
        )
        return text[0].decode("utf-8"), sampling, flags

    def _record(self, prompt: str) -> None:
        if self.recording is None:
            return
        line = json.dumps({"at": "engine", "text": prompt}, ensure_ascii=False) + "\n"
        handle = os.open(self.recording, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode("utf-8"))
        finally:
            os.close(handle)

    def _stamp(self) -> int:
        return (self.folder / "simulator.json").stat().st_mtime_ns

    def _refresh(self) -> None:
        """Read the parameters again when they changed, and be as broken as they say."""
        stamp = self._stamp()
        if stamp != self.stamp:
            self.parameters, self.stamp = simulation.read_parameters(self.folder), stamp
        match self.parameters.broken:
            case "Error":
                raise simulation.SimulationError("CUDA error: an illegal memory access")
            case "Death":
                os.abort()
            case _:
                pass


class _Watch:
    """Waits, and looks for a cancel only every period: what is cancelled runs on until then."""

    def __init__(self, request: Any, period: float) -> None:
        self.request = request
        self.period = max(period, 0.001)
        self.loop = asyncio.get_running_loop()
        self.next_check = self.loop.time() + period

    async def sleep_until(self, moment: float) -> bool:
        """Return whether the request still stands at that moment."""
        while (now := self.loop.time()) < moment:
            await asyncio.sleep(min(moment, self.next_check) - now)
            if not self._stands():
                return False
        return self._stands()

    async def until(self, event: asyncio.Event) -> bool:
        """Return whether the event came while the request still stood."""
        while not event.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), self.period)
            if not self._stands():
                return False
        return True

    def _stands(self) -> bool:
        if self.loop.time() < self.next_check:
            return True
        self.next_check = self.loop.time() + self.period
        return not self.request.is_cancelled()


def _array(request: Any, name: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _scalar(request: Any, name: str, kind: type) -> Any:
    array = _array(request, name)
    return None if array is None else kind(array.reshape(-1)[0])


def _send(
    sender: Any, flags: dict[str, bool], step: simulation.Step, prompt: str, *, last: bool
) -> None:
    text = step.text if flags["exclude"] else prompt + step.text
    outputs = [_text("text_output", text)]
    if flags["finish_reason"]:
        outputs.append(_text("finish_reason", str(step.finish)))
    if flags["stop_reason"]:
        outputs.append(_text("stop_reason", str(step.stop_reason)))
    if flags["cumulative_logprob"]:
        outputs.append(_text("cumulative_logprob", "0.0"))
    response = pb_utils.InferenceResponse(output_tensors=outputs)
    sender.send(response, flags=_FINAL if last else 0)


def _text(name: str, value: str) -> Any:
    return pb_utils.Tensor(name, np.array([value.encode("utf-8")], dtype=np.object_))


def _fail(sender: Any, message: str) -> None:
    response = pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message))
    # the final flag may have gone out before the fault: then nothing is owed
    with contextlib.suppress(Exception):
        sender.send(response, flags=_FINAL)
