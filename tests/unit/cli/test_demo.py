from __future__ import annotations

import pytest

from stagepost.cli.app import run


def test_about_says_what_the_embedded_broker_lacks_without_starting_anything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert 0 == run(["demo", "--about"])
    out = capsys.readouterr().out
    for lack in ("isolation", "fencing", "compaction", "not kept", "silently gone", "experimental"):
        assert lack in out


def test_a_time_that_is_none_is_a_mistake_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run(["demo", "--for", "soon"])
    assert "'soon' is no duration such as 60s or 5m" in capsys.readouterr().err


def test_a_broker_that_does_not_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == run(["demo", "--kafka", "127.0.0.1:1", "--for", "10s"])
    assert "stagepost: Kafka at 127.0.0.1:1 does not answer" in capsys.readouterr().err
