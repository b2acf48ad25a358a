"""Does an act count as held only if everything in it did?"""

from __future__ import annotations

import pytest

from story.stage import Stage, StoryError, until


def test_an_act_holds_if_each_expectation_does() -> None:
    stage = Stage()

    assert stage.act("one", "purpose", lambda: _expect(stage, True, True))
    assert [("one", True, "")] == [(o.title, o.held, o.why) for o in stage.outcomes]


def test_one_broken_expectation_breaks_the_act_and_says_which() -> None:
    """A red line in the middle would scroll by, and the demo end with 0."""
    stage = Stage()

    assert not stage.act("one", "purpose", lambda: _expect(stage, True, False, True))
    assert ["number 1 holds"] == [outcome.why for outcome in stage.outcomes]


def test_an_act_that_cannot_go_on_breaks_and_the_next_one_is_played() -> None:
    stage = Stage()

    def stuck() -> None:
        raise StoryError("no answer after 90 s")

    assert not stage.act("one", "purpose", stuck)
    assert stage.act("two", "purpose", lambda: _expect(stage, True))
    assert ["no answer after 90 s", ""] == [outcome.why for outcome in stage.outcomes]


def test_a_wait_is_bounded_and_says_for_what() -> None:
    """A demo that hangs says nothing at all."""
    with pytest.raises(StoryError, match=r"no answer after 0\.01 s"):
        until(lambda: False, seconds=0.01, what="answer")


def test_output_into_a_file_has_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage()
    stage.act("one", "purpose", lambda: _expect(stage, True, False))
    stage.table(("A", "B"), [("1", "2")])

    assert "\x1b" not in capsys.readouterr().out


def _expect(stage: Stage, *truths: bool) -> None:
    for number, truth in enumerate(truths):
        stage.expect(truth, f"number {number} holds")
