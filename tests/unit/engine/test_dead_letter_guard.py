"""A partition stops when too much of it is bad, and not before enough was seen."""

from __future__ import annotations

import pytest

from stagepost.engine.dead_letter_guard import DeadLetterGuard, GuardConfig


def test_a_few_bad_records_at_the_start_say_nothing() -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=100))
    assert guard.too_many(99, 99) is None
    assert guard.too_many(1, 1) == "100 of the last 100 records are dead letters, more than 50%"


def test_a_share_below_the_limit_goes_on_for_ever() -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=100))
    assert [guard.too_many(10, 5) for _ in range(1_000)] == [None] * 1_000


def test_a_bad_deploy_is_noticed_after_any_amount_of_good_records() -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=100))
    for _ in range(1_000):
        assert guard.too_many(10, 0) is None
    answers = [guard.too_many(10, 10) for _ in range(6)]
    assert answers[:5] == [None] * 5
    assert answers[5] is not None


@pytest.mark.parametrize("size", [1, 7, 50, 600])
def test_batches_of_any_size_stop_within_a_window_of_bad_records(size: int) -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=100))
    seen = next(n for n in range(1, 1_000) if guard.too_many(size, size))
    assert seen * size < 100 + size


def test_a_share_of_one_lets_everything_pass() -> None:
    guard = DeadLetterGuard(GuardConfig(share=1.0, window=10))
    assert [guard.too_many(10, 10) for _ in range(10)] == [None] * 10


def test_a_batch_that_was_taken_back_does_not_count() -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=10))
    guard.take_back()
    for _ in range(20):
        assert guard.too_many(8, 8) is None
        guard.take_back()
    assert guard.too_many(10, 4) is None
    assert guard.too_many(10, 10) == "10 of the last 10 records are dead letters, more than 50%"
