from __future__ import annotations

from typing import Any

import pytest

from stagepost.events import Event, Smtp
from stagepost.journey.definition import Test as Check
from stagepost.journey.where import compile_glob, compile_globs, compile_where, lookup


def holds(path: str, operator: Any, value: Any, **fields: Any) -> bool:
    passes = compile_where([Check(path, operator, value)])
    assert passes is not None
    return passes(Event(id="1", type="x.y", occurred_at="", contact="c", **fields))


@pytest.mark.parametrize(
    ("operator", "value", "found", "expected"),
    [
        ("eq", 1, 1.0, True),
        ("eq", True, 1, False),
        ("eq", 1, True, False),
        ("eq", "1", 1, False),
        ("eq", "a", None, False),
        ("eq", "a", ["a"], False),
        ("ne", 1, 2, True),
        ("ne", 1, "2", False),
        ("ne", 1, None, False),
        ("gt", 0, 5, True),
        ("gt", 0, True, False),
        ("gt", 0, "5", False),
        ("ge", 5, 5, True),
        ("lt", "b", "a", True),
        ("le", "b", 1, False),
        ("le", True, False, False),
        ("in", ("a", 1), "a", True),
        ("in", ("a", 1), 1.0, True),
        ("in", ("a", 1), True, False),
        ("in", ("a", 1), {"a": 1}, False),
        ("prefix", "ab", "abc", True),
        ("prefix", "ab", 1, False),
        ("matches", "b+$", "abb", True),
        ("matches", "^b", "ab", False),
        ("matches", "caf.$", "café", True),
        ("matches", "a", "\ud800", False),
        ("matches", "a", 1, False),
        ("exists", True, 0, True),
        ("exists", True, None, False),
        ("exists", False, None, True),
        ("exists", False, "x", False),
    ],
)
def test_operators(operator: str, value: Any, found: Any, expected: bool) -> None:
    assert expected == holds("n", operator, value, data={"n": found})


def test_data_then_metadata_then_the_events_own_fields_and_null_is_missing() -> None:
    event = Event(
        id="1",
        type="x.y",
        occurred_at="",
        contact="c",
        campaign="own",
        data={"campaign": None, "a": {"b": 1}},
        metadata={"campaign": "meta", "a": {"b": 2, "c": 3}, "x.y": 4},
        bounce_class="hard",
        smtp=Smtp(code=550),
    )

    paths = ["campaign", "a.b", "a.c", "x.y", "class", "smtp.code", "smtp.code.no", "list", "a.b.c", "nothing"]
    assert ["meta", 1, 3, 4, "hard", 550, None, None, None, None] == [lookup(event, path) for path in paths]


def test_all_tests_of_one_where_must_hold() -> None:
    both = compile_where([Check("a", "eq", 1), Check("b", "eq", 2)])
    assert both is not None

    event = Event(id="1", type="x.y", occurred_at="", contact="c", data={"a": 1, "b": 3})

    assert not both(event)
    assert compile_where([]) is None


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("a*", "abc", True),
        ("a*", "ba", False),
        ("*a", "ba\n", False),
        ("*a*", "x\na", True),
        ("a.c", "abc", False),
        ("A", "a", False),
        ("a?", "ab", False),
        ("*", "", True),
    ],
)
def test_globs(pattern: str, text: str, expected: bool) -> None:
    assert expected == compile_glob(pattern)(text)
    assert expected == compile_globs([pattern])(text)
