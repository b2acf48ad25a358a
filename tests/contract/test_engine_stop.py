"""Does an engine end cleanly after its clients have left?"""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from demarc.engines.generation import Generation, Prompt
from demarc.engines.triton import TritonEngine, TritonOptions
from support import engines

pytestmark = [pytest.mark.engine, pytest.mark.timeout(60)]


async def test_an_answer_that_is_left_at_its_last_message_does_not_hold_the_stop(
    tmp_path: Path,
) -> None:
    """Each roll-out would wait for the whole exit timeout of every engine."""
    with engines.running_triton(tmp_path, max_seq_len=4096) as running:
        async with TritonEngine.connect(TritonOptions(running.grpc)) as engine:
            for _ in range(3):
                question = Generation(prompt=Prompt("hi"), max_tokens=1, timeout_seconds=5, top_k=1)
                async with aclosing(engine.generate(question)) as chunks:
                    async for _chunk in chunks:
                        break

    assert "Exit timeout expired" not in (tmp_path / "triton.log").read_text("utf-8")
