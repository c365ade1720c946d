"""Fewer of the same lines."""

from __future__ import annotations

import logging

from stagepost.edges.log_limits import EVERY_S, RateLimit


def record(name: str, text: str, *args: object, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, text, args, None)


def test_the_same_line_passes_once_in_its_time_and_then_says_how_many_did_not() -> None:
    now = [0.0]
    limit = RateLimit("aiokafka", clock=lambda: now[0])
    lines = [record("aiokafka.conn", "no node %s", number) for number in range(4)]
    assert [True, False, False] == [limit.filter(line) for line in lines[:3]]
    now[0] = EVERY_S
    assert limit.filter(lines[3])
    assert "no node 3 (and 2 more like it)" == lines[3].getMessage()


def test_another_text_level_or_logger_is_another_line() -> None:
    limit = RateLimit("aiokafka", clock=lambda: 0.0)
    others = [
        record("aiokafka.conn", "a"),
        record("aiokafka.conn", "b"),
        record("aiokafka", "a"),
        record("aiokafka.conn", "a", level=logging.WARNING),
    ]
    assert all(limit.filter(line) for line in others)


def test_loggers_that_are_not_named_are_never_limited() -> None:
    limit = RateLimit("aiokafka", clock=lambda: 0.0)
    assert all(limit.filter(record(name, "a")) for name in ("stagepost.notify", "aiokafkaesque") for _ in range(3))


def test_lines_of_librdkafka_all_have_one_text_and_are_told_apart_by_their_facility() -> None:
    limit = RateLimit("librdkafka", clock=lambda: 0.0)
    lines = [
        record("librdkafka", "%s [%s] %s", what, "rdkafka#producer-1", "broker 1 is away") for what in ("FAIL", "ERROR")
    ]
    assert [True, True] == [limit.filter(line) for line in lines]
    assert [False, False] == [limit.filter(line) for line in lines]
