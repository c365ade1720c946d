"""What the inputs have reported."""

from __future__ import annotations

import pytest

from stagepost.rollup.watermark import Input, Inputs, Taken


@pytest.mark.parametrize(
    ("seq", "taken"), [(4, Taken.DUPLICATE), (5, Taken.DUPLICATE), (6, Taken.NEXT), (8, Taken.GAP)]
)
def test_a_batch_is_judged_by_the_last_number_of_its_input(seq: int, taken: Taken) -> None:
    assert taken is Inputs().took(3, 5, 100, 1).judge(3, seq)


def test_the_first_batch_of_an_input_may_have_any_number() -> None:
    assert Taken.NEXT is Inputs().took(3, 5, 100, 1).judge(2, 77)


def test_the_watermark_is_the_smallest_clock_and_unknown_while_one_input_is_silent() -> None:
    inputs = Inputs().took(0, 1, 500, 1).took(1, 1, 300, 2)
    assert (300, None) == (inputs.watermark(2), inputs.watermark(3))
    assert (None, 0) == (Inputs().watermark(1), Inputs().furthest())
    assert 500 == inputs.furthest()


def test_neither_a_clock_nor_broker_time_goes_back() -> None:
    inputs = Inputs().took(0, 1, 500, 9).took(0, 2, 400, 7)
    assert (9, {0: Input(2, 500)}) == (inputs.now, inputs.by_partition)
