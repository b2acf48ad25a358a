"""Are the demo's questions what they claim to be?"""

from __future__ import annotations

import pytest

from story import asking
from story.asking import Answer, Question


def is_card(digits: str) -> bool:
    """The check of card numbers, written another way than in the demo."""
    from_right = [int(digit) for digit in reversed(digits)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in from_right[1::2]]
    return (sum(from_right[0::2]) + sum(doubled)) % 10 == 0


@pytest.mark.parametrize("separator", ["", " ", "-"])
def test_a_card_number_passes_the_check_of_card_numbers(separator: str) -> None:
    """Detectors check it; a number that fails would be an ordinary one and leave."""
    for _ in range(200):
        question = asking.with_card(separator=separator)
        card = question.markers[-1]

        assert is_card(card)
        assert card in question.text.replace(separator, "")


def test_no_two_questions_share_a_marker() -> None:
    """An old recording would prove a new question."""
    questions = [asking.ordinary() for _ in range(50)] + [asking.with_card() for _ in range(50)]
    markers = [marker for question in questions for marker in question.markers]

    assert len(markers) == len(set(markers))


def test_each_marker_stands_in_the_question() -> None:
    """What is searched for was never sent, so it is never found."""
    for question in (asking.ordinary(), asking.with_card()):
        assert all(marker in question.text for marker in question.markers)


def test_an_answer_is_echoed_only_with_the_words_of_its_own_question() -> None:
    """Any 200 would count as an answer of the engine to this question."""
    mine, other = asking.ordinary(), asking.ordinary()

    assert answer(mine, mine.echo).is_echoed
    assert not answer(mine, other.echo).is_echoed


def answer(question: Question, text: str) -> Answer:
    return Answer(question, 200, "cloud-sg", "", "", text, "", 1, 1, 0.1)
