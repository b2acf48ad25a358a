"""Has the simulated engine the interface and the vices of the real one?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.engines import load_simulation, words

simulation = load_simulation()
GOOD = {"model": "/m", "triton_config": {"max_batch_size": 0, "decoupled": True}}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def changed(**triton: Any) -> dict[str, Any]:
    return {**GOOD, "triton_config": {**GOOD["triton_config"], **triton}}


def test_a_good_model_yaml_is_read() -> None:
    document = {**GOOD, "max_seq_len": 10, "kv_cache_config": {"dtype": "fp8"}}
    read = simulation.engine_arguments(document)

    assert ("/m", True, 10, 100) == (
        read.model,
        read.decoupled,
        read.max_seq_len,
        read.cancellation_check_period_ms,
    )


@pytest.mark.parametrize(
    "document",
    [
        {**GOOD, "pytorch_backend_config": {}},
        {**GOOD, "kv_cache_config": {"enable_block_reuses": True}},
        {"model": "/m"},
        {"model": "/m", "triton_config": {"decoupled": True}},
        {"model": "/m", "triton_config": {"max_batch_size": 0}},
        changed(decoupled="true"),
        changed(max_batch_size=4),
        changed(other=1),
        {"triton_config": GOOD["triton_config"]},
        [],
    ],
)
def test_a_model_yaml_that_the_real_one_refuses_is_refused(document: Any) -> None:
    with pytest.raises(simulation.SimulationError):
        simulation.engine_arguments(document)


@pytest.mark.parametrize(
    "document",
    [
        {"timeToFirstToken": 1},
        {"broken": "Maybe"},
        {"minAnswerTokens": 9, "maxAnswerTokens": 8},
        [],
    ],
)
def test_unknown_parameters_are_refused(document: Any) -> None:
    with pytest.raises(simulation.SimulationError):
        simulation.parameters(document)


@given(TEXT)
def test_the_tokens_of_a_text_are_the_text(text: str) -> None:
    assert text == b"".join(simulation.pieces(text)).decode()


@given(TEXT, st.integers(1, 50), st.lists(st.text("ab ", min_size=1, max_size=3), max_size=2))
def test_an_answer_grows_and_ends_once(text: str, most: int, stop: list[str]) -> None:
    sampling = simulation.Sampling(max_tokens=most, stop=tuple(stop))
    steps = simulation.steps(simulation.pieces(text), sampling)

    assert [None] * (len(steps) - 1) == [step.finish for step in steps[:-1]]
    assert steps[-1].finish in {"stop", "length"}
    assert len(steps) <= most
    assert not any(word in steps[-1].text for word in stop)


def test_an_answer_is_shorter_than_its_limit_says() -> None:
    given_ = simulation.parameters({"minAnswerTokens": 3, "maxAnswerTokens": 5})
    lengths = {
        len(simulation.answer(str(n), simulation.Sampling(), given_, words())) for n in range(50)
    }

    assert {3, 4, 5} == lengths


def test_requests_wait_for_places_and_for_the_cache() -> None:
    limits = simulation.parameters({"maxConcurrentRequests": 2, "kvCacheTokens": 10})
    queue = simulation.Queue()
    for ticket, tokens in (("a", 6), ("b", 6), ("c", 1)):
        queue.ask(ticket, tokens, limits)

    assert ["a"] == queue.admit(limits)  # `b` does not fit, and `c` may not pass it
    queue.leave(6)
    assert ["b", "c"] == queue.admit(limits)
    queue.ask("d", 1, limits)
    assert [] == queue.admit(limits)  # no third place
    queue.forget("d")
    queue.leave(6)
    assert [] == queue.admit(limits)
    with pytest.raises(simulation.SimulationError):
        queue.ask("e", 11, limits)


def test_fixed_answers_come_before_prose() -> None:
    given_ = simulation.parameters({"answers": [{"contains": "capital", "text": "Paris"}]})
    said = simulation.answer("the capital?", simulation.Sampling(), given_, words())

    assert b"Paris" == b"".join(said)


def test_max_tokens_are_cut_to_what_the_sequence_holds() -> None:
    """The engine cuts a wish that does not fit; only a prompt that fills the sequence fails."""
    assert simulation.Sampling(max_tokens=100).within(90, 128).max_tokens == 38
    assert simulation.Sampling(max_tokens=10).within(90, 128).max_tokens == 10
    with pytest.raises(simulation.SimulationError, match="max_seq_len"):
        simulation.Sampling().within(128, 128)
