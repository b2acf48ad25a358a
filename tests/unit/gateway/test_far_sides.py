"""When may a request try the far side of a Public endpoint again? After 1 s, doubling to 30 s."""

from __future__ import annotations

from demarc.gateway.availability import FarSides

ENDPOINT = "models/glm-4-flash@cloud-sg"


def waits(far: FarSides, *, trials: int, answer_seconds: float) -> list[float]:
    """Seconds from each failure to the next trial, when every trial fails."""
    found: list[float] = []
    now = 100.0
    far.failed(ENDPOINT, now)
    for _ in range(trials):
        failed_at = now
        while not far.up(ENDPOINT, now):
            now += 0.25
        found.append(now - failed_at)
        far.taken(ENDPOINT, now)
        now += answer_seconds
        far.failed(ENDPOINT, now)
    return found


def test_the_wait_doubles_to_30_seconds_when_trials_fail_at_once() -> None:
    """A dead site refuses within milliseconds; without doubling it costs a caller every second."""
    assert [1, 2, 4, 8, 16, 30, 30] == waits(FarSides(), trials=7, answer_seconds=0.015625)


def test_the_wait_doubles_when_trials_fail_late() -> None:
    """The wait begins with the failure, however long the trial took."""
    assert [1, 2, 4] == waits(FarSides(), trials=3, answer_seconds=0.75)


def test_one_request_tries_it_and_the_next_waits_for_its_answer() -> None:
    """Several at once would each be refused."""
    far = FarSides()
    far.failed(ENDPOINT, 100)
    assert far.up(ENDPOINT, 101)

    far.taken(ENDPOINT, 101)

    assert not far.up(ENDPOINT, 101.5)


def test_a_trial_without_an_answer_counts_as_none() -> None:
    """A caller that hung up must not close the endpoint for ever."""
    far = FarSides()
    far.failed(ENDPOINT, 100)

    far.taken(ENDPOINT, 101)

    assert far.up(ENDPOINT, 102)


def test_failures_of_what_was_sent_before_say_nothing_new() -> None:
    """A hundred requests in flight fail together; that is one failure."""
    far = FarSides()
    far.failed(ENDPOINT, 100)
    for _ in range(100):
        far.failed(ENDPOINT, 100.875)

    assert far.up(ENDPOINT, 101)


def test_an_answer_clears_the_endpoint() -> None:
    """The next failure begins with one second again."""
    far = FarSides()
    waits(far, trials=4, answer_seconds=0.25)

    assert far.answered(ENDPOINT)
    assert [1] == waits(far, trials=1, answer_seconds=0.25)
