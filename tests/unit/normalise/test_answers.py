"""Answers of receiving servers: code, enhanced code, text."""

from __future__ import annotations

import pytest

from stagepost.events import Smtp
from stagepost.normalise.answers import is_temporary, smtp


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("550 5.1.1 no such user", Smtp(550, "5.1.1", "550 5.1.1 no such user")),
        ("550-5.1.1 no such user", Smtp(550, "5.1.1", "550-5.1.1 no such user")),
        ("smtp; 451 4.2.2 busy", Smtp(451, "4.2.2", "smtp; 451 4.2.2 busy")),
        ("sent (250 2.0.0 OK)", Smtp(250, "2.0.0", "sent (250 2.0.0 OK)")),
        ("421", Smtp(421, None, "421")),
        ("4.2.2 mailbox full", Smtp(None, "4.2.2", "4.2.2 mailbox full")),
        ("198.51.100.9 refused", Smtp(None, None, "198.51.100.9 refused")),
        ("Host not found in 300 seconds", Smtp(None, None, "Host not found in 300 seconds")),
        ("", None),
        (None, None),
        ({"code": 550}, None),
    ],
)
def test_an_answer_is_taken_apart_where_it_begins_with_its_code(told: object, expected: Smtp | None) -> None:
    assert smtp(told) == expected


def test_a_code_told_apart_goes_before_the_one_in_the_text() -> None:
    assert smtp("554 5.7.1 no", code="550", enhanced="5.1.1") == Smtp(550, "5.1.1", "554 5.7.1 no")
    assert smtp(None, code=550) == Smtp(550, None, None)
    assert smtp(None, code=99) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Smtp(421), True),
        (Smtp(550, "4.2.2"), False),
        (Smtp(None, "4.2.2"), True),
        (Smtp(None, "5.1.1"), False),
        (Smtp(None, None, "later"), False),
        (None, False),
    ],
)
def test_a_temporary_answer_is_told_by_its_code_else_by_the_enhanced_one(answer: Smtp | None, expected: bool) -> None:
    assert is_temporary(answer) is expected
