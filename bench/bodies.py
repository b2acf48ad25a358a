"""What is asked and what is answered? The same bytes on both sides, in every round.

The prompts are a bank's ordinary talk in Chinese and English, with numbers and dates and nothing
that a detector finds. The answers are a model's, of constant length, with the usage trailer that
frontends send.
"""

# ruff: noqa: RUF001  # Chinese punctuation is what Chinese prose has

from __future__ import annotations

import json
import random
from dataclasses import dataclass

PATH = "/v1/chat/completions"
STREAM_MARK = b'{"stream":true'
"""How a body that asks for a stream begins, so that the upstream need not parse it."""
CHUNKS = 20
"""Chunks of a streamed answer, each written by itself."""

_SENTENCES = (
    "请问个人住房贷款提前还款需要准备哪些材料，需要提前多少天预约？",
    "我行网点的营业时间为周一至周五上午九点到下午五点，节假日另行通知。",
    "理财产品的预期收益不代表实际收益，投资者应当阅读产品说明书后再作决定。",
    "企业网银开户一般需要三到五个工作日，审批通过后会以短信方式告知。",
    "本季度的贷款余额比去年同期增长了百分之八，主要来自小微企业客户。",
    "如果忘记登录密码，可以在手机银行首页点击找回，按照提示完成人脸识别。",
    "How long does it take to open a savings account at a branch, and what should I bring?",
    "The quarterly report lists 14 branches, 230 staff and a budget of 1.5 million.",
    "Please summarise the following conversation in three short bullet points.",
    "Interest is credited on the 21st of the last month of each quarter.",
    "Our help desk answers within 2 business days; urgent cases take about 4 hours.",
    "A customer asked whether the fee of 25 yuan is waived for students in 2026.",
)
_ROLES = ("user", "assistant")
_TURN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Size:
    """One size of request.

    Attributes:
        name: as the table says it.
        bytes: least length of the body.
        connections: that keep a core busy. Of large bodies fewer do, and with more of them a
            decision on one busy core would wait beyond the time that Envoy gives it.
    """

    name: str
    bytes: int
    connections: int


SIZES = (Size("1 KB", 1100, 64), Size("220 KB", 220 * 1024, 16))


def request(size: Size, *, stream: bool) -> bytes:
    """A chat request of at least that many bytes and not many more."""
    draw = random.Random(size.bytes)  # the same text in every run
    turns: list[str] = [""]
    found = b""
    while len(found) < size.bytes:
        sentence = draw.choice(_SENTENCES)
        if len(turns[-1].encode()) > min(_TURN_BYTES, size.bytes // 3):
            turns.append("")
        turns[-1] += sentence
        found = _render(turns, stream=stream)
    return found


def answer() -> bytes:
    """A whole answer on the wire: chunked, because of the trailer."""
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1767225600,
            "model": "glm-4.5-air",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "You need an identity card. " * 16},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 312, "completion_tokens": 96, "total_tokens": 408},
        }
    ).encode()
    return _head("application/json") + _chunk(body) + _end()


def streamed_answer() -> tuple[bytes, ...]:
    """The parts of a streamed answer on the wire, each to be written by itself."""
    events = [
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1767225600,
            "model": "glm-4.5-air",
            "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}],
        }
        for _ in range(CHUNKS - 1)
    ]
    parts = [_chunk(b"data: " + json.dumps(event).encode() + b"\n\n") for event in events]
    last = _chunk(b"data: [DONE]\n\n") + _end()
    return (_head("text/event-stream") + parts[0], *parts[1:], last)


def _render(turns: list[str], *, stream: bool) -> bytes:
    messages = [
        {"role": "system", "content": "You are the assistant of a bank. 请用客户的语言回答。"},
        *({"role": _ROLES[index % 2], "content": text} for index, text in enumerate(turns)),
    ]
    value = {"model": "auto", "messages": messages, "max_tokens": 256, "temperature": 0.2}
    if stream:
        value = {"stream": True, **value}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _head(content_type: str) -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n"
        "transfer-encoding: chunked\r\ntrailer: x-demarc-usage\r\n\r\n"
    ).encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _end() -> bytes:
    return b"0\r\nx-demarc-usage: in=312;out=96;source=tokenizer\r\n\r\n"
