"""Who serves one request of the OpenAI API? This shell; what is decided, pure modules decide.

INVARIANT: every answer ends with the trailer `x-demarc-usage`, and every request that the engine
saw leaves one line in the journal, also when the client left.
INVARIANT: log lines and metrics hold ids, numbers and fixed words.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from demarc.engines.generation import (
    EngineError,
    EngineFailedError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    Generation,
    Prompt,
)
from demarc.frontend import answers, asking, chat, refusals, translation
from demarc.frontend import usage as counting
from demarc.frontend.answers import Head
from demarc.frontend.chat import ChatRequest
from demarc.frontend.deltas import TextRewrittenError
from demarc.frontend.http import ClientLeftError, Exchange, Request
from demarc.frontend.journal import Journal
from demarc.frontend.metrics import Metrics
from demarc.frontend.ports import Engine
from demarc.frontend.refusals import Refusal
from demarc.frontend.served import ServedModel
from demarc.frontend.template import MessagesRefusedError
from demarc.frontend.tool_calls import Event
from demarc.frontend.usage import NOTHING, TRAILER, Outcome, Usage

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
_DECISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_EVENTS = {"content-type": "text/event-stream", "cache-control": "no-store"}
_JSON = {"content-type": "application/json"}
NO_USAGE = {TRAILER: counting.trailer(NOTHING)}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long an engine may take.

    Attributes:
        first_chunk_seconds: to begin.
        request_seconds: for the whole answer.
    """

    first_chunk_seconds: float
    request_seconds: float


@dataclass(slots=True)
class _Account:
    """What one request has cost so far."""

    prompt_tokens: int = 0
    text: str = field(default="", repr=False)
    outcome: Outcome = Outcome.REFUSED
    status: int = 0
    used: Usage | None = None


class OpenAiHandler:
    """Answers the requests of one listener."""

    def __init__(
        self,
        *,
        engine: Engine,
        model: ServedModel,
        deadlines: Deadlines,
        journal: Journal,
        metrics: Metrics,
        now: Callable[[], datetime],
        saw_engine: Callable[[bool], None],
    ) -> None:
        """Take what the handler works with.

        Args:
            engine: continues prompts.
            model: what is served.
            deadlines: of each request.
            journal: gets one line for each request that the engine saw.
            metrics: of the process.
            now: the wall clock.
            saw_engine: is told True for each sign of life of the engine, False for each fault.
        """
        self._engine = engine
        self._model = model
        self._deadlines = deadlines
        self._journal = journal
        self._metrics = metrics
        self._now = now
        self._saw_engine = saw_engine
        self._created = int(now().timestamp())
        self._log = structlog.get_logger("demarc.frontend")

    async def __call__(self, request: Request, exchange: Exchange) -> None:
        """Route a request by its exact path."""
        match request.method, request.target:
            case "POST", "/v1/chat/completions":
                await self._chat(request, exchange)
            case "GET", "/v1/models":
                body = answers.models(self._model.name, self._created)
                await exchange.answer(200, body, headers=_JSON, trailers=NO_USAGE)
            case _, "/v1/chat/completions":
                await exchange.refuse(refusals.method_not_allowed("POST"), NO_USAGE)
            case _, "/v1/models":
                await exchange.refuse(refusals.method_not_allowed("GET"), NO_USAGE)
            case _:
                await exchange.refuse(refusals.no_route(), NO_USAGE)

    async def _chat(self, request: Request, exchange: Exchange) -> None:
        account = _Account()
        decision = request.headers.get("x-demarc-decision", "")
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._metrics.running += 1
        try:
            refusal = await self._complete(request, exchange, decision, account)
            if refusal is not None:
                await self._refuse(refusal, exchange, account)
        except (asyncio.CancelledError, ClientLeftError):
            account.outcome = Outcome.CANCELLED
            raise
        except Exception:
            account.outcome = Outcome.ERROR
            raise
        finally:
            self._metrics.running -= 1
            await self._close(decision, account, seconds=loop.time() - began)

    async def _complete(
        self, request: Request, exchange: Exchange, decision: str, account: _Account
    ) -> Refusal | None:
        """Serve one chat completion.

        1 read the envelope, 2 parse the body, 3 render and count (in a thread), 4 decide what to
        ask, 5 ask and answer (I/O). All but 3 and 5 are pure.
        """
        refusal = self._check_envelope(request, decision)
        if refusal is not None:
            return refusal
        parsed = chat.parse(request.body)
        if isinstance(parsed, Refusal):
            return parsed
        refusal = self._check_model(request, parsed)
        if refusal is not None:
            return refusal
        try:
            prompt, account.prompt_tokens = await asyncio.to_thread(
                self._render, parsed, self._now()
            )
        except MessagesRefusedError as error:
            return refusals.invalid(str(error), "messages")
        generation = asking.ask(
            parsed,
            self._model,
            prompt,
            prompt_tokens=account.prompt_tokens,
            timeout_seconds=self._deadlines.request_seconds,
        )
        if isinstance(generation, Refusal):
            account.prompt_tokens = 0  # nothing was used
            return generation
        head = Head(
            decision, int(self._now().timestamp()), parsed.model, include_usage=parsed.include_usage
        )
        if parsed.stream:
            sink: _Stream | _Whole = _Stream(head, exchange)
        else:
            sink = _Whole(head, exchange)
        return await self._generate(parsed, generation, sink, account)

    def _check_envelope(self, request: Request, decision: str) -> Refusal | None:
        if not _DECISION.fullmatch(decision):
            message = "the header x-demarc-decision is missing: this port is for gateways"
            return refusals.transport(400, "bad_request", message)
        media, _, parameters = request.headers.get("content-type", "").partition(";")
        charset = parameters.strip().lower().removeprefix("charset=").strip('"')
        if media.strip().lower() != "application/json" or charset not in {"", "utf-8"}:
            return refusals.media_type("the body must be application/json in UTF-8")
        return None

    def _check_model(self, request: Request, parsed: ChatRequest) -> Refusal | None:
        if request.headers.get("x-demarc-model", parsed.model) != self._model.name:
            return refusals.model_not_found(parsed.model)
        if parsed.tools and not self._model.template.takes_tools:
            return refusals.unsupported("tools", "this model has no tools in its chat template")
        return None

    def _render(self, parsed: ChatRequest, now: datetime) -> tuple[Prompt, int]:
        rendered = self._model.template.render(parsed.messages, parsed.tools, now=now)
        prompt = self._model.tokens.without_begin(rendered)
        return prompt, self._model.tokens.prompt(prompt)

    async def _generate(
        self,
        parsed: ChatRequest,
        generation: Generation,
        sink: _Stream | _Whole,
        account: _Account,
    ) -> Refusal | None:
        state = translation.begin(parsed)
        loop = asyncio.get_running_loop()
        began = loop.time()
        account.outcome = Outcome.ERROR
        silent = True
        try:
            async with (
                asyncio.timeout(self._deadlines.first_chunk_seconds) as deadline,
                aclosing(self._engine.generate(generation)) as chunks,
            ):
                async for chunk in chunks:
                    self._saw_engine(True)
                    if silent:
                        silent = False
                        deadline.reschedule(began + self._deadlines.request_seconds)
                        self._metrics.observe_first_token(loop.time() - began)
                    account.text = chunk.text
                    state, events = translation.advance(state, chunk)
                    await sink.put(events)
                    if state.outcome is not None:
                        break
        except (EngineError, TextRewrittenError, TimeoutError) as error:
            self._saw_engine(False)
            refusal, account.outcome = _fault(error)
            if silent and isinstance(error, EngineUnavailableError):
                account.prompt_tokens = 0  # the engine never saw it
            return refusal
        match state.outcome:
            case Outcome.STOP | Outcome.LENGTH | Outcome.TOOL_CALLS:
                account.outcome = state.outcome
            case Outcome.TIMEOUT:
                account.outcome = state.outcome
                return refusals.engine_timeout()
            case _:
                self._saw_engine(False)
                return refusals.engine_failed()
        used = await self._usage(account)
        account.status = 200
        await sink.end(account.outcome, used)
        return None

    async def _refuse(self, refusal: Refusal, exchange: Exchange, account: _Account) -> None:
        trailers = {TRAILER: counting.trailer(await self._usage(account))}
        account.status = refusal.status
        if exchange.begun:
            await exchange.end(trailers, answers.error_event(refusal))
        else:
            await exchange.refuse(refusal, trailers)

    async def _usage(self, account: _Account) -> Usage:
        """Count once; the text grows no more."""
        if account.used is None:
            output = 0
            if account.text:
                output = await asyncio.to_thread(self._model.tokens.answer, account.text)
            account.used = Usage(account.prompt_tokens, output, account.outcome)
        return account.used

    async def _close(self, decision: str, account: _Account, *, seconds: float) -> None:
        """Book what the request has cost; it ended, in whatever way."""
        used = replace(await self._usage(account), outcome=account.outcome)
        self._metrics.count(account.status, used)
        if used.outcome is not Outcome.REFUSED:
            line = counting.journal_line(used, decision=decision, at=self._now())
            if not self._journal.append(line):
                self._metrics.journal_failures += 1
        self._log.info(
            "request_answered",
            decision=decision if _DECISION.fullmatch(decision) else None,
            status=account.status,
            finish=used.outcome.value,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            milliseconds=round(seconds * 1000),
        )


class _Stream:
    """Sends events as they come; the head waits for the first, so that an error has its status."""

    def __init__(self, head: Head, exchange: Exchange) -> None:
        self._head = head
        self._exchange = exchange

    async def put(self, events: Sequence[Event]) -> None:
        parts = [answers.part_event(self._head, event) for event in events]
        if not self._exchange.begun:
            await self._exchange.begin(200, headers=_EVENTS, trailers=(TRAILER,))
            parts.insert(0, answers.role_event(self._head))
        await self._exchange.send(b"".join(parts))

    async def end(self, outcome: Outcome, used: Usage) -> None:
        last = [answers.finish_event(self._head, outcome.value)]
        if self._head.include_usage:
            last.append(answers.usage_event(self._head, used))
        last.append(answers.DONE)
        await self._exchange.end({TRAILER: counting.trailer(used)}, b"".join(last))


class _Whole:
    """Keeps the events and sends one body."""

    def __init__(self, head: Head, exchange: Exchange) -> None:
        self._head = head
        self._exchange = exchange
        self._events: list[Event] = []

    async def put(self, events: Sequence[Event]) -> None:
        self._events += events

    async def end(self, outcome: Outcome, used: Usage) -> None:
        body = answers.completion(self._head, self._events, outcome.value, used)
        await self._exchange.answer(
            200, body, headers=_JSON, trailers={TRAILER: counting.trailer(used)}
        )


def _fault(error: Exception) -> tuple[Refusal, Outcome]:
    match error:
        case EngineUnavailableError():
            return refusals.engine_unavailable(), Outcome.ERROR
        case EngineTimeoutError() | TimeoutError():
            return refusals.engine_timeout(), Outcome.TIMEOUT
        case EngineRefusedError():
            return refusals.engine_refused(), Outcome.ERROR
        case EngineFailedError() | TextRewrittenError():
            return refusals.engine_failed(), Outcome.ERROR
        case _:
            return refusals.internal(), Outcome.ERROR
