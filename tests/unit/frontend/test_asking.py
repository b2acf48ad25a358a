"""Is the engine asked for what the client wants, inside what the model can?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from demarc.engines.generation import Generation, Prompt
from demarc.frontend import asking, served
from demarc.frontend.chat import ChatRequest
from demarc.frontend.refusals import Refusal
from demarc.frontend.served import SamplingDefaults, ServedModel
from demarc.local.simulator import folder

REQUEST = ChatRequest(model="auto", messages=({"role": "user", "content": "hi"},))
PROMPT = Prompt("hi")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    path = tmp_path_factory.mktemp("model")
    folder.make(path, name="m")
    return served.read_served_model(path, name="m", context_tokens=100)


def ask(request: ChatRequest, model: ServedModel, tokens: int = 10) -> Generation | Refusal:
    return asking.ask(request, model, PROMPT, prompt_tokens=tokens, timeout_seconds=9)


def test_openai_s_defaults_hold_where_nothing_is_said(model: ServedModel) -> None:
    want = Generation(prompt=PROMPT, max_tokens=90, timeout_seconds=9, temperature=1.0, top_p=1.0)

    assert want == ask(REQUEST, model)


def test_the_model_s_defaults_come_before_openai_s(model: ServedModel) -> None:
    changed = replace(model, defaults=SamplingDefaults(temperature=0.6, top_p=0.9, top_k=20))

    found = ask(replace(REQUEST, temperature=0.2), changed)

    assert isinstance(found, Generation)
    assert (0.2, 0.9, 20) == (found.temperature, found.top_p, found.top_k)


@pytest.mark.parametrize("wish", [{"temperature": 0.0}, {"top_p": 0.0}])
def test_greedy_is_said_in_the_one_way_that_every_version_reads(
    model: ServedModel, wish: dict[str, float]
) -> None:
    found = ask(replace(REQUEST, **wish), model)

    assert isinstance(found, Generation)
    assert (None, None, 1) == (found.temperature, found.top_p, found.top_k)


@pytest.mark.parametrize(
    "tokens,wish,want",
    [(10, 90, 90), (99, None, 1), (60, 40, 40)],
)
def test_what_just_fits_is_asked(
    model: ServedModel, tokens: int, wish: int | None, want: int
) -> None:
    found = ask(replace(REQUEST, max_tokens=wish), model, tokens)

    assert isinstance(found, Generation)
    assert want == found.max_tokens


@pytest.mark.parametrize("tokens,wish", [(10, 91), (100, None), (100, 1), (5000, 1)])
def test_what_does_not_fit_is_refused(model: ServedModel, tokens: int, wish: int | None) -> None:
    found = ask(replace(REQUEST, max_tokens=wish), model, tokens)

    assert isinstance(found, Refusal)
    assert (400, "context_length_exceeded", "messages") == (found.status, found.code, found.param)
