"""Tests inside journey files: their lines as events, and what a failing one shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagepost.events import DAY
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey
from stagepost.journey.timeline import CONTACT, START, run_timelines, timeline_events

EXAMPLES = Path(__file__).parents[3] / "src" / "stagepost" / "journey" / "examples"


def journey(events: str, expect: str, rest: str = "") -> Journey:
    text = f"""
journey: j
links: {{pricing: example.com/pricing}}
stages:
  - one: contact.subscribed
  - two: {{when: {{clicked: any}}, stalls_after: 3d}}
  - three: {{event: order.completed, where: {{total: {{gt: 40}}}}}}
exits:
  - gone: {{unsubscribed: {{scope: list, id: news}}}}
{rest}
tests:
  - name: t
    events: [{events}]
    expect: [{expect}]
"""
    parsed = parse_journey(text, "j.yaml")
    assert parsed.journey is not None, [str(p) for p in parsed.problems]
    return parsed.journey


def events_of(*lines: str) -> list[dict[str, object]]:
    (test,) = journey(", ".join(f"'{line}'" for line in lines), "").tests
    return [
        {
            name: getattr(event, name)
            for name in ("type", "campaign", "message", "machine", "url", "data")
            if getattr(event, name) not in (None, {})
        }
        | {"day": (at - START) // DAY}
        for event, at in timeline_events(test.events)
    ]


def test_sent_means_sent_and_delivered_and_later_lines_name_its_message() -> None:
    made = events_of(
        "1d sent n-1", "2d opened n-1", "3d clicked https://example.com/ campaign=n-1", "4d complained n-1"
    )
    assert [(e["type"], e["campaign"], e["message"], e["day"]) for e in made] == [
        ("email.sent", "n-1", "m0", 1),
        ("email.delivered", "n-1", "m0", 1),
        ("email.opened", "n-1", "m0", 2),
        ("email.clicked", "n-1", "m0", 3),
        ("email.complained", "n-1", "m0", 4),
    ]


@pytest.mark.parametrize(
    ("option", "machine"), [("", False), ("machine=true", True), ("machine=false", False), ("machine=unknown", None)]
)
def test_events_are_human_unless_said_otherwise(option: str, machine: bool | None) -> None:
    (test,) = journey(f"'0d clicked https://example.com/?a=b {option}'", "").tests
    ((event, _),) = timeline_events(test.events)
    assert (event.machine, event.url) == (machine, "https://example.com/?a=b")


def test_a_message_that_a_line_names_is_that_of_its_event_and_of_later_ones() -> None:
    made = events_of("1d sent n-1 message=a", "2d opened n-1", "3d clicked https://example.com/ message=b")
    assert ["a", "a", "a", "b"] == [event["message"] for event in made]


def test_activities_carry_their_words_as_data() -> None:
    (made,) = events_of('0d order.completed total=49.5 plan=pro gift=true code="7"')
    assert made["data"] == {"total": 49.5, "plan": "pro", "gift": True, "code": "7"}


def test_scopes_of_withdrawals_and_classes_of_bounces() -> None:
    (test,) = journey(
        "'0d unsubscribed all', '0d resubscribed list:news', '0d unsubscribed', '0d bounced hard n-1'", ""
    ).tests
    made = [event for event, _ in timeline_events(test.events)]
    assert [(e.type, e.scope, e.scope_id) for e in made[:2]] == [
        ("email.unsubscribed", "all", made[0].scope_id),
        ("email.resubscribed", "list", "news"),
    ]
    assert (made[3].type, made[3].bounce_class, made[3].campaign) == ("email.bounced", "hard", "n-1")


def test_a_test_passes_when_the_timeline_is_complete_and_in_order() -> None:
    made = journey(
        "0d contact.subscribed, 1d clicked https://example.com/, 5d order.completed total=50,"
        " 6d unsubscribed list:news",
        "0d none -> one, 1d one -> two, 4d stall two, 5d two -> three, 6d three -> gone",
    )
    (result,) = run_timelines(made)
    assert (result.passed, result.actual) == (True, result.expected)


def test_a_failing_test_shows_what_was_expected_and_what_happened() -> None:
    (result,) = run_timelines(journey("0d contact.subscribed, 1d clicked https://example.com/", "0d none -> one"))
    assert not result.passed
    assert result.expected == ("0d none -> one",)
    assert result.actual == ("0d none -> one", "1d one -> two")


@pytest.mark.parametrize(
    ("expected", "line"),
    [
        (["0d none -> one", "1d one -> two"], 8),  # what happened: the place says nothing
        (["0d none -> two", "1d one -> two"], 11),
        (["0d none -> one", "1d one -> three"], 12),
        (["0d none -> one", "1d one -> two", "2d two -> three"], 13),
        (["0d none -> one"], 8),
    ],
)
def test_a_result_stands_where_the_first_expectation_was_not_met(expected: list[str], line: int) -> None:
    text = """
journey: j
stages:
  - one: contact.subscribed
  - two: {clicked: any}
  - three: order.completed
tests:
  - name: t
    events: [0d contact.subscribed, "1d clicked https://example.com/"]
    expect:
"""
    parsed = parse_journey(text + "".join(f"      - {one}\n" for one in expected), "j.yaml")
    assert parsed.journey is not None
    (result,) = run_timelines(parsed.journey)
    assert line == result.position.line


def test_the_clock_runs_to_the_last_offset_that_is_named() -> None:
    click = "0d contact.subscribed, 1d clicked https://example.com/"
    (stopped,) = run_timelines(journey(click, "0d none -> one, 1d one -> two"))
    (longer,) = run_timelines(journey(f"{click}, 9d page.seen", "0d none -> one, 1d one -> two, 4d stall two"))
    assert (stopped.passed, longer.passed) == (True, True)


def test_the_tests_of_the_packaged_example_pass() -> None:
    parsed = parse_journey((EXAMPLES / "webinar-nurture.yaml").read_text(), "e")
    assert parsed.journey is not None
    assert [result.passed for result in run_timelines(parsed.journey)] == [True]


def test_everything_happens_to_one_contact() -> None:
    (test,) = journey("0d a.b, 1d c.d", "").tests
    assert {event.contact for event, _ in timeline_events(test.events)} == {CONTACT}
