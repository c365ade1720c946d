"""A partition stops when too much of it is bad, and not before enough was seen."""

from __future__ import annotations

import pytest

from stagepost.engine.dead_letter_guard import DeadLetterGuard, GuardConfig


def test_a_few_bad_records_at_the_start_say_nothing() -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=100))
    assert guard.too_many(99, range(99)) is None
    assert guard.too_many(1, range(1)) == "100 of the last 100 records are dead letters, more than 50%"


def test_a_share_below_the_limit_goes_on_for_ever() -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=100))
    assert [guard.too_many(10, range(5)) for _ in range(1_000)] == [None] * 1_000


def test_a_bad_deploy_is_noticed_after_any_amount_of_good_records() -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=100))
    for _ in range(1_000):
        assert guard.too_many(10, range(0)) is None
    answers = [guard.too_many(10, range(10)) for _ in range(6)]
    assert answers[:5] == [None] * 5
    assert answers[5] is not None


@pytest.mark.parametrize("size", [1, 7, 50, 600])
def test_batches_of_any_size_stop_within_a_window_of_bad_records(size: int) -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=100))
    seen = next(n for n in range(1, 1_000) if guard.too_many(size, range(size)))
    assert seen * size < 100 + size


def test_a_share_of_one_lets_everything_pass() -> None:
    guard = DeadLetterGuard(GuardConfig(share=1.0, window=10))
    assert [guard.too_many(10, range(10)) for _ in range(10)] == [None] * 10


def test_a_batch_that_was_taken_back_does_not_count() -> None:
    guard = DeadLetterGuard(GuardConfig(share=0.5, window=10))
    guard.take_back()
    for _ in range(20):
        assert guard.too_many(8, range(8)) is None
        guard.take_back()
    assert guard.too_many(10, range(4)) is None
    assert guard.too_many(10, range(10)) == "10 of the last 10 records are dead letters, more than 50%"


def test_a_row_of_dead_letters_stops_a_worker_that_has_seen_little() -> None:
    guard = DeadLetterGuard(GuardConfig(run=100))
    assert guard.too_many(99, range(99)) is None
    assert guard.too_many(1, range(1)) is None
    assert guard.too_many(3, [0]) == "101 records in a row are dead letters, more than 100"


def test_one_good_record_ends_a_row() -> None:
    guard = DeadLetterGuard(GuardConfig(run=100))
    assert guard.too_many(201, [*range(100), *range(101, 201)]) is None
    assert guard.too_many(1, []) is None
    assert guard.too_many(101, range(1, 101)) is None
    assert guard.too_many(2, [0, 1]) == "102 records in a row are dead letters, more than 100"


@pytest.mark.parametrize("size", [1, 7, 50, 600])
def test_a_row_is_found_however_it_was_batched(size: int) -> None:
    guard = DeadLetterGuard(GuardConfig(run=100))
    bad = [False] * 5 + [True] * 100 + [False] + [True] * 101 + [False] * 393
    answers = []
    for begin in range(0, len(bad), size):
        batch = bad[begin : begin + size]
        answers.append(guard.too_many(len(batch), [place for place, dead in enumerate(batch) if dead]))
    stopped = next(number for number, why in enumerate(answers) if why is not None)
    assert stopped == (5 + 100 + 1 + 100) // size


def test_a_row_of_a_batch_that_was_taken_back_does_not_count() -> None:
    guard = DeadLetterGuard(GuardConfig(run=10))
    assert guard.too_many(6, range(6)) is None
    for _ in range(5):
        assert guard.too_many(4, range(4)) is None
        guard.take_back()
    assert guard.too_many(5, range(5)) == "11 records in a row are dead letters, more than 10"


def test_a_run_of_nought_lets_any_row_pass() -> None:
    guard = DeadLetterGuard(GuardConfig(share=1.0, run=0))
    assert guard.too_many(5_000, range(5_000)) is None


def test_a_row_before_a_large_batch_that_was_taken_back_still_counts() -> None:
    guard = DeadLetterGuard(GuardConfig(share=1, window=1_000, run=500))
    assert guard.too_many(400, range(400)) is None
    assert guard.too_many(5_000, range(0)) is None  # the first one is beyond the window now
    guard.take_back()
    assert guard.too_many(101, range(101)) == "501 records in a row are dead letters, more than 500"
