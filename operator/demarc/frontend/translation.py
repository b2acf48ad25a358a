"""What does the next chunk of an engine add to the answer of a client? Pure."""

from __future__ import annotations

from dataclasses import dataclass

from demarc.engines.generation import Chunk, Finish
from demarc.frontend import deltas, tool_calls
from demarc.frontend.chat import ChatRequest
from demarc.frontend.deltas import Released
from demarc.frontend.tool_calls import Event, Split
from demarc.frontend.usage import Outcome


@dataclass(frozen=True, slots=True)
class Translation:
    """How far an answer was translated.

    Attributes:
        released: what passed the stop texts.
        split: what of that was given out.
        outcome: why the answer ended; None: it goes on.
    """

    released: Released
    split: Split
    outcome: Outcome | None = None


def begin(request: ChatRequest) -> Translation:
    """Before the first chunk."""
    return Translation(
        Released(stops=request.stop),
        Split(tools=request.tools, parallel=request.parallel_tool_calls),
    )


def advance(before: Translation, chunk: Chunk) -> tuple[Translation, tuple[Event, ...]]:
    """Translate one chunk.

    Raises:
        TextRewrittenError: the engine changed text that it had already given.
    """
    final = chunk.finish is not None
    released = deltas.release(before.released, chunk.text, final=final)
    final = final or released.stopped
    split, events = tool_calls.split(before.split, released.text, final=final)
    outcome = _outcome(released, split, chunk.finish) if final or split.ended else None
    return Translation(released, split, outcome), events


def _outcome(released: Released, split: Split, finish: Finish | None) -> Outcome:
    if split.ended:
        return Outcome.TOOL_CALLS
    if not released.stopped:
        match finish:
            case Finish.LENGTH:
                return Outcome.LENGTH
            case Finish.TIMEOUT:
                return Outcome.TIMEOUT
            case Finish.CANCELLED:
                return Outcome.ERROR
            case Finish.STOP | None:
                pass
    return Outcome.TOOL_CALLS if split.calls else Outcome.STOP
