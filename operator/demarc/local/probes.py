"""Does a container do what its probe asks? One attempt, and how attempts become a verdict.

RULES
- A check that fails, times out or cannot be understood has failed.
- HTTP counts from 200 to 399; TLS is not verified, as the kubelet does not.
- Only a failure on the probe's own period counts towards its threshold. While nothing has succeeded
  yet, a check that costs one connection is tried in between: readiness is seen when it comes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeAlias, assert_never

from demarc.local.pods import Check, Execute, HttpGet, Probe, TcpConnect

RunProgram: TypeAlias = Callable[[tuple[str, ...], float], Awaitable[int]]
"""(argv, seconds) -> exit code of a program in the container; `TimeoutError` after the seconds."""

_EAGER_FIRST_SECONDS: Final = 0.05
_EAGER_GROWTH: Final = 1.5
_HTTP_GOOD: Final = range(200, 400)
_LINE_LIMIT: Final = 8192


async def attempt(check: Check, *, address: str, seconds: float, run: RunProgram) -> str:
    """Why the check failed, in a few words without any content; empty when it succeeded.

    Args:
        check: what to try.
        address: where a check without a host goes.
        seconds: for the whole attempt.
        run: starts a program in the container.
    """
    try:
        match check:
            case HttpGet():
                async with asyncio.timeout(seconds):
                    return await _get(check, check.host or address)
            case TcpConnect(port, host):
                async with asyncio.timeout(seconds):
                    _, writer = await asyncio.open_connection(host or address, port)
                    writer.close()
                return ""
            case Execute(argv):
                code = await run(argv, seconds)
                return f"exit code {code}" if code else ""
            case _:
                assert_never(check)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        return _words(error)


async def _get(check: HttpGet, host: str) -> str:
    context = _unverified() if check.tls else None
    reader, writer = await asyncio.open_connection(host, check.port, ssl=context, limit=_LINE_LIMIT)
    try:
        headers = {"Host": f"{host}:{check.port}", "User-Agent": "demarc-probe", "Accept": "*/*"}
        headers |= dict(check.headers) | {"Connection": "close"}
        lines = [
            f"GET {check.path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        words = (await reader.readuntil(b"\r\n")).split(b" ", 2)
        status = int(words[1]) if len(words) > 1 else 0
    finally:
        writer.transport.abort()  # the rest of the answer is of no interest
    return "" if status in _HTTP_GOOD else f"HTTP status {status}"


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _words(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(getattr(error, "strerror", "") or "the answer cannot be understood")


async def verdicts(
    probe: Probe,
    *,
    address: str,
    run: RunProgram,
    failed: Callable[[str], Awaitable[None]],
) -> AsyncGenerator[bool]:
    """True each time the success threshold is reached anew, False for the failure threshold.

    Args:
        probe: what to try and how often.
        address: of the pod.
        run: starts a program in the container.
        failed: hears of each failure that counts.
    """
    loop = asyncio.get_running_loop()
    await asyncio.sleep(probe.initial_delay)
    standing: bool | None = None
    latest: bool | None = None
    alike = 0  # how many attempts in a row ended like the latest
    succeeded = False
    eager = not isinstance(probe.check, Execute)
    while True:
        due = loop.time() + probe.period
        trouble = await attempt(probe.check, address=address, seconds=probe.timeout, run=run)
        if trouble and not succeeded and eager:
            pause = _EAGER_FIRST_SECONDS
            while trouble and loop.time() + pause < due:
                await asyncio.sleep(pause)
                left = max(due - loop.time(), _EAGER_FIRST_SECONDS)
                trouble = await attempt(
                    probe.check, address=address, seconds=min(probe.timeout, left), run=run
                )
                pause *= _EAGER_GROWTH
        good = not trouble
        if trouble:
            await failed(trouble)
        alike = alike + 1 if good == latest else 1
        latest = good
        succeeded = succeeded or good
        threshold = probe.success_threshold if good else probe.failure_threshold
        if alike >= threshold and good != standing:
            standing = good
            yield good
        await asyncio.sleep(max(due - loop.time(), 0))
