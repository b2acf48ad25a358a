"""What does the frontend need from a model folder? Chat template, tokenizer, sampling defaults.

TensorRT-LLM adds the tokenizer's special tokens to every text that it is given. Where both the
tokenizer and the chat template begin with the same token, the template's is taken away, so that
the model sees one and the count is the engine's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from demarc.engines.generation import Prompt
from demarc.frontend.template import ChatTemplate, ChatTemplateError, compile_template

_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


class ServedModelError(Exception):
    """The model folder lacks something, or it is not valid."""


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What generation_config.json says for a request that says nothing; OpenAI's 1 otherwise."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None


class TokenCounter:
    """Counts as the engine does."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        first = tokenizer.encode("", add_special_tokens=True).ids[:1]
        self._begin = tokenizer.id_to_token(first[0]) if first else None

    def without_begin(self, prompt: Prompt) -> Prompt:
        """Take away the begin token that the engine will add again."""
        if self._begin is None:
            return prompt
        return Prompt(prompt.reveal().removeprefix(self._begin))

    def prompt(self, prompt: Prompt) -> int:
        """Tokens that the engine reads for this prompt."""
        return self._count(prompt.reveal(), add_special_tokens=True)

    def answer(self, text: str) -> int:
        """Tokens of generated text; the end token is not counted."""
        return self._count(text, add_special_tokens=False)

    def _count(self, text: str, *, add_special_tokens: bool) -> int:
        """Count without the interpreter's lock, which `encode` would hold for its whole work."""
        (encoding,) = self._tokenizer.encode_batch_fast(
            [text], add_special_tokens=add_special_tokens
        )
        return len(encoding)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What is served under one name."""

    name: str
    context_tokens: int
    template: ChatTemplate
    tokens: TokenCounter
    defaults: SamplingDefaults


def read_served_model(folder: Path, *, name: str, context_tokens: int) -> ServedModel:
    """Read a model folder.

    Args:
        folder: with tokenizer.json, tokenizer_config.json, a chat template, and perhaps
            generation_config.json.
        name: the served name.
        context_tokens: most tokens of prompt and answer together.

    Raises:
        ServedModelError: the message names the file and the fault.
    """
    config = _read_object(folder / "tokenizer_config.json")
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises no other class
        raise ServedModelError(f"cannot read tokenizer.json: {error}") from error
    try:
        template = compile_template(_template_source(folder, config), _special_tokens(config))
    except ChatTemplateError as error:
        raise ServedModelError(str(error)) from error
    path = folder / "generation_config.json"
    return ServedModel(
        name=name,
        context_tokens=context_tokens,
        template=template,
        tokens=TokenCounter(tokenizer),
        defaults=_defaults(_read_object(path) if path.exists() else {}),
    )


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ServedModelError(f"the model folder has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise ServedModelError(f"cannot read {path.name}: {error}") from error
    if not isinstance(value, dict):
        raise ServedModelError(f"{path.name} is not a JSON object")
    return value


def _template_source(folder: Path, config: Mapping[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text("utf-8")
    match config.get("chat_template"):
        case str() as source:
            return source
        case list() as named:
            sources = {row.get("name"): row.get("template") for row in named}
            chosen = sources.get("tool_use", sources.get("default"))
            if isinstance(chosen, str):
                return chosen
        case _:
            pass
    raise ServedModelError("the model folder has no chat template: neither file nor entry")


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens are strings, or objects with the string in `content`."""
    found: dict[str, str] = {}
    for name in _SPECIAL:
        entry = config.get(name)
        value = entry.get("content") if isinstance(entry, dict) else entry
        if isinstance(value, str):
            found[name] = value
    return found


def _defaults(config: Mapping[str, Any]) -> SamplingDefaults:
    # 0 and null mean "not set" there
    given = {name: config[name] for name in ("temperature", "top_p", "top_k") if config.get(name)}
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in given.values()):
        raise ServedModelError("generation_config.json has a sampling value that is no number")
    top_k = int(given["top_k"]) if "top_k" in given else None
    return SamplingDefaults(
        temperature=float(given.get("temperature", 1.0)),
        top_p=float(given.get("top_p", 1.0)),
        top_k=top_k,
    )
