from __future__ import annotations

from collections import Counter
from dataclasses import replace

from stagepost.demo.accounting import Accounting
from stagepost.demo.outcome import Outcome
from stagepost.demo.results import Incident
from stagepost.demo.traffic import COMPLAINT_CAMPAIGN, UNSUBSCRIBE_CAMPAIGN, Planted
from stagepost.engine.plan import Topic
from stagepost.events import DAY, Reason
from stagepost.journey.simulate import FunnelRow

SUMS = Accounting(
    parts=10,
    became_events=8,
    rejected=2,
    without_event=0,
    taken=12,
    applied=8,
    duplicates=2,
    late=1,
    suppressed=0,
    test=0,
    rerouted=0,
    refused=1,
    reasons={"undecodable": 3},
)
FIRED = Incident(
    "complaint", "campaign", COMPLAINT_CAMPAIGN, "firing", "warning", True, "2026-11-12T09:35:00Z", "36 vs 1", 1
)
GOOD = Outcome(
    seconds=59.94,
    raw_in=6,
    published_events=14,
    accounting=SUMS,
    kinds={"enter": 5, "exit": 1},
    funnel={"webinar-nurture": (FunnelRow("subscribed", "stage", 3, 5), FunnelRow("complained", "exit", 1, 1))},
    alerts=(FIRED,),
    metrics_windows=40,
    dead_letters=Counter({(Topic.RAW, "undecodable"): 2, (Topic.EVENTS, "undecodable"): 1}),
    planted=Planted(Counter({(Topic.RAW, Reason.UNDECODABLE): 2, (Topic.EVENTS, Reason.UNDECODABLE): 1}), 2, 1),
    campaigns={COMPLAINT_CAMPAIGN: 0, UNSUBSCRIBE_CAMPAIGN: 0},
    complete=True,
    latencies_s=(0.1, 0.2, 0.3),
)


def test_a_run_as_planted_has_no_problem() -> None:
    assert () == GOOD.problems


def test_the_object_has_the_keys_that_others_rely_on() -> None:
    found = GOOD.as_json()
    assert {
        "seconds": 59.9,
        "raw_in": 6,
        "events": 14,
        "applied": 8,
        "duplicates": 2,
        "late": 1,
        "suppressed": 0,
        "dead_lettered": 3,
        "balanced": True,
        "transitions": {"enter": 5, "exit": 1},
        "funnel": {"webinar-nurture": {"subscribed": {"now": 3, "reached": 5}, "complained": {"now": 1, "reached": 1}}},
        "alerts": [
            {
                "metric": "complaint",
                "scope": {"type": "campaign", "id": COMPLAINT_CAMPAIGN},
                "status": "firing",
                "severity": "warning",
            }
        ],
        "metrics_windows": 40,
        "planted": {
            "malformed": 3,
            "duplicated": 2,
            "late": 1,
            "complaint_campaign": COMPLAINT_CAMPAIGN,
            "unsubscribe_campaign": UNSUBSCRIBE_CAMPAIGN,
        },
    } == {key: found[key] for key in list(found)[:14]}


def test_an_event_that_was_published_and_never_arrived_is_a_problem() -> None:
    lost = replace(GOOD, published_events=15)
    assert not lost.balanced
    assert ["the sums do not close: 15 events were published, 14 are accounted for"] == list(lost.problems)


def test_an_event_that_came_in_twice_because_it_was_rerouted_is_none() -> None:
    assert replace(GOOD, accounting=replace(SUMS, taken=13, rerouted=1)).balanced


def test_a_dead_letter_with_another_reason_is_a_problem() -> None:
    other = replace(GOOD, dead_letters=Counter({(Topic.RAW, "undecodable"): 2, (Topic.EVENTS, "schema"): 1}))
    assert [
        "dead letters of email.events for schema: 0 planted, 1 found",
        "dead letters of email.events for undecodable: 1 planted, 0 found",
    ] == list(other.problems)


def test_an_alert_where_nothing_was_planted_is_a_problem() -> None:
    stray = replace(FIRED, metric="unsubscribe")
    assert [f"unsubscribe fired on campaign {COMPLAINT_CAMPAIGN}, where nothing was planted"] == list(
        replace(GOOD, alerts=(FIRED, stray)).problems
    )


def test_a_role_that_had_to_be_started_again_is_told() -> None:
    restarted = replace(GOOD, restarts=["notify"])
    assert ["notify"] == restarted.as_json()["restarts"]
    assert "restart    notify ended and was started again" in restarted.as_text()


def test_the_summary_tells_the_sum_the_funnel_the_moves_and_the_alerts() -> None:
    text = "\n".join(GOOD.as_text())
    assert "14 = 8 applied + 2 duplicate + 1 late + 0 suppressed + 3 dead-lettered: the sums close" in text
    assert "subscribed" in text and "enter 5  exit 1" in text
    assert "fired 2026-11-12T09:35Z, now firing: 36 vs 1" in text
    assert "unsubscribe spike planted in nurture-5" in text and "has not fired" in text
    assert "median 0.2 s" in text and "undecodable 3 (3 planted)" in text


def test_a_spike_that_was_never_sent_is_not_said_to_have_been_missed() -> None:
    text = "\n".join(replace(GOOD, alerts=(), played_to=-DAY).as_text())
    assert text.count("not sent yet: stopped at 1969-12-31T00:00Z") == 2
    assert "has not fired" not in text
