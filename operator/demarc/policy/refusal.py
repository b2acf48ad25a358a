"""How does a client learn that a request was not understood? An OpenAI-style error.

INVARIANT: nothing of the request is repeated, not even an unknown name: a field may carry what a
value may carry. Known names of our own tables are used in `param`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is refused before it gets a label.

    Attributes:
        status: HTTP status, 400 to 499.
        type: OpenAI error type.
        code: machine-readable reason.
        param: field or header at fault, from our tables; None when there is none.
        message: one sentence for people, with the repair if it is known.
        headers: lower-case names and values that the answer carries, for example `allow`.
    """

    status: int
    type: str
    code: str
    param: str | None
    message: str
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> bytes:
        """The JSON body that OpenAI clients read, as bytes."""
        return msgspec.json.encode(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )


def refuse(
    code: str,
    message: str,
    *,
    param: str | None = None,
    status: int = 400,
    headers: tuple[tuple[str, str], ...] = (),
) -> Refusal:
    """A refusal of type `invalid_request_error`."""
    return Refusal(status, "invalid_request_error", code, param, message, headers)
