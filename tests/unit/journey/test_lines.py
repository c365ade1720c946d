from __future__ import annotations

import pytest

from stagepost.journey.lines import line_of
from stagepost.journey.parse import parse_journey

TEXT = """journey: j
stages:
  - one: contact.subscribed
  - two:
      clicked: any
setbacks:
  - cold: {quiet: 3d, until: {clicked: any}}
exits:
  - gone: email.complained
recover: {clicked: any}
consent: tracking
"""


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("stages.one", 3),
        ("stages.two", 4),
        ("setbacks.cold", 7),
        ("setbacks.cold.until", 7),
        ("exits.gone", 9),
        ("recover", 10),
        ("consent", 11),
        ("journey", 1),
        ("goal", None),
    ],
)
def test_a_rule_path_leads_back_to_its_line(rule: str, line: int | None) -> None:
    journey = parse_journey(TEXT, "j.yaml").journey
    assert journey is not None
    assert line_of(journey, rule) == line
