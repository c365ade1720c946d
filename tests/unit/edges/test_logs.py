"""Log lines: JSON, from an allow-list, without addresses or passwords."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from stagepost.edges import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_and_bound_fields(stream: io.StringIO) -> None:
    logs.configure(stream=stream)
    logs.logger("stagepost.runner", role="journey").info("batch committed", partition=3, seq=7)
    [line] = lines(stream)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "event": "batch committed",
        "level": "info",
        "logger": "stagepost.runner",
        "role": "journey",
        "partition": 3,
        "seq": 7,
    }


def test_a_field_that_is_not_listed_is_left_out_by_name(stream: io.StringIO) -> None:
    logs.configure(stream=stream)
    logs.logger("x").warning("refused", reason="schema", payload={"email": "ann@example.com"}, contact="c-1")
    [line] = lines(stream)
    assert ("schema", ["contact", "payload"]) == (line["reason"], line["left_out"])
    assert "c-1" not in stream.getvalue()
    assert "ann" not in stream.getvalue()


def test_a_contact_id_is_logged_for_debugging_only(stream: io.StringIO) -> None:
    logs.configure(logging.DEBUG, stream)
    logs.logger("x").debug("applied", contact="c-1")
    assert "c-1" == lines(stream)[0]["contact"]


def test_lines_below_the_level_are_not_written(stream: io.StringIO) -> None:
    logs.configure(stream=stream)
    logs.logger("x").debug("applied")
    assert stream.getvalue() == ""


def test_addresses_and_passwords_are_cut_out_of_texts_exceptions_and_libraries(stream: io.StringIO) -> None:
    logs.configure(stream=stream)
    logging.getLogger("aiokafka").error("cannot reach redis://user:hush@h:1 for %s", "<ann@example.com>")
    try:
        raise ValueError("bad address bob.o@mail.example.org")
    except ValueError:
        logs.logger("x").exception("failed", error="see carol@example.com")
    text = stream.getvalue()
    assert [] == [word for word in ("hush", "ann@", "bob.o@", "carol@") if word in text]
    first, second = lines(stream)
    assert first["event"] == "cannot reach redis://user:***@h:1 for <<address>>"
    assert "ValueError: bad address <address>" in str(second["exception"])


def test_plain_text_is_written_on_a_terminal(stream: io.StringIO) -> None:
    logs.configure(stream=stream, as_json=False)
    logs.logger("x").info("ready", port=8082)
    assert "ready" in stream.getvalue()
    assert "port=8082" in stream.getvalue()
