from __future__ import annotations

import json

import pytest

from stagepost.cli.app import run


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["journey-step"], ["loop without the step", "500 conditions"]),
        (["normalise", "--pure"], ["JSON in and out", "normalise"]),
    ],
)
def test_a_measurement_is_a_table_of_medians_or_one_object(
    words: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", *words, "--events", "1000", "--rounds", "1"]) == 0
    shown = capsys.readouterr()
    assert all(line in shown.out for line in lines)
    assert shown.err == ""
    assert run(["bench", *words, "--events", "1000", "--rounds", "1", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["bench"] == words[0]


def test_a_peer_that_nobody_knows_is_a_usage_error_that_names_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "journey", "--peers", "quix,nifi"]) == 2
    told = capsys.readouterr().err
    assert "'nifi' is none of kafka-streams, quix, faust, redis-per-event" in " ".join(told.replace("│", " ").split())
