from __future__ import annotations

from server.supervisor import Backoff


def test_pauses_double_up_to_the_longest_and_quick_deaths_end_it() -> None:
    backoff = Backoff(first=1.0, longest=5.0, quick_seconds=300.0, quick_deaths=5)
    assert [backoff.died(10.0) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, None]


def test_a_daemon_that_served_for_long_starts_the_count_anew() -> None:
    backoff = Backoff(first=1.0, longest=60.0, quick_seconds=300.0, quick_deaths=3)
    assert [backoff.died(each) for each in (10.0, 10.0, 400.0, 10.0, None)] == [1.0, 2.0, 1.0, 2.0, None]


def test_one_quick_death_may_be_the_last() -> None:
    backoff = Backoff(first=1.0, longest=60.0, quick_seconds=300.0, quick_deaths=1)
    assert backoff.died(1000.0) == 1.0
    assert backoff.died(1.0) is None
