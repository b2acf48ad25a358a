"""What does the frontend need from outside? Its ports, as `app` and tests fill them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from demarc.engines.generation import Chunk, Generation


class Engine(Protocol):
    """Something that continues a prompt; `engines.triton.TritonEngine` is one."""

    def generate(self, generation: Generation) -> AsyncGenerator[Chunk]:
        """Stream the answer; closing the generator cancels the request.

        Raises:
            EngineError: one of its kinds, while the answer is read.
        """
        ...

    async def ready(self) -> bool:
        """Whether the engine says that it is ready; it may be wrong."""
        ...
