"""``stagepost dlq``: what is refused before a broker is asked. The rest is tested on real servers."""

from __future__ import annotations

import pytest

from stagepost.cli.app import run


@pytest.mark.parametrize(
    "place",
    [
        "email.raw.dlq",
        "email.raw.dlq:0",
        "email.raw.dlq:0:-1",
        "email.raw.dlq:\u00b2:0",
        "email.raw.dlq:99999999999:0",
        "email.raw.dlq:0:9999999999999999999",
    ],
)
def test_a_place_that_no_dead_letter_can_have_is_a_usage_error(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dlq", "show", place, "--kafka", "localhost:1"]) == 2
    assert "is no TOPIC:PARTITION:OFFSET" in capsys.readouterr().err
