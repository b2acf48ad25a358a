"""Does the process of a pod start with its command line, and stop when it is told?"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from demarc.local.simulator import folder
from support import frontends
from support.frontends import GATEWAY, SpiffeAuthority, chat, post

pytestmark = pytest.mark.timeout(60)

ADDRESS = "127.61.0.4"


async def test_the_process_answers_and_stops_with_status_zero(
    tmp_path: Path,
) -> None:
    authority = SpiffeAuthority()
    tls = authority.write(tmp_path / "tls", frontends.FRONTEND)
    context = frontends.client_context(authority.write(tmp_path / "client", GATEWAY))
    folder.make(tmp_path / "model", name="simulated")
    port, health_port = frontends.free_ports(ADDRESS, 2)
    command = (
        *(sys.executable, "-c", "from demarc.cli import main; main()", "frontend"),
        *("--address", ADDRESS, "--port", str(port), "--health-port", str(health_port)),
        *("--triton", f"{ADDRESS}:1", "--model-dir", str(tmp_path / "model")),
        *("--served-name", frontends.MODEL, "--context-tokens", "1000"),
        *("--allow", GATEWAY, "--tls", str(tls)),
        *("--journal", str(tmp_path / "run" / "usage.jsonl")),
    )
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stderr=log)

    async def live() -> bool:
        assert process.returncode is None, (tmp_path / "log").read_text()
        try:
            return 200 == await page("/livez")
        except ConnectionError:
            return False

    async def page(path: str) -> int:
        async with frontends.wire(health_port, None, ADDRESS) as wire:
            await wire.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            return (await wire.answer()).status

    try:
        await frontends.until(live)
        ready = await page("/readyz")
        async with frontends.wire(port, context, ADDRESS) as wire:
            await wire.send(post(chat()))
            answer = await wire.answer()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert (503, 503, 0) == (ready, answer.status, status)
    assert ("frontend_started", "frontend_stopped") == (events[0], events[-1])
