from __future__ import annotations

import json

from stagepost.demo.results import Results
from stagepost.demo.supervisor import demo_journeys
from stagepost.engine.dead_letters import dead_letter
from stagepost.engine.plan import Headers, Record, Topic
from stagepost.events import Reason, Rejected, Transition, encode_json

JOURNEY = "webinar-nurture"


def record(topic: Topic, value: bytes, key: bytes = b"k", offset: int = 0, headers: Headers = ()) -> Record:
    return Record(topic, 0, offset, 0, key, value, headers)


def move(id_: str, contact: str, from_: str | None, to: str, kind: str, best: str) -> bytes:
    return encode_json(
        Transition(
            id=id_,
            journey=JOURNEY,
            version="1",
            contact=contact,
            run=f"{contact}/{JOURNEY}/1",
            from_=from_,
            to=to,
            kind=kind,
            at="2026-11-03T00:00:00.000Z",
            rule="stages.x",
            cause=None,
            timer=None,
            credit=None,
            last_send=None,
            goal=False,
            move=1,
            dwell_s=None,
            best=best,
            late=False,
        )
    )


def alert(rev: int, status: str, severity: str = "warning", scope: str = "weekly-2") -> bytes:
    return json.dumps(
        {
            "incident_id": f"{scope}-1",
            "rev": rev,
            "status": status,
            "severity": severity,
            "metric": "complaint",
            "scope": {"type": "campaign", "id": scope},
            "summary": f"rev {rev}",
            "fired_at": "2026-11-12T09:35:00Z",
        }
    ).encode()


def test_moves_are_counted_once_by_kind_and_in_the_funnel() -> None:
    results = Results(demo_journeys())
    entered = record(Topic.TRANSITIONS, move("1", "c-1", None, "subscribed", "enter", "subscribed"))
    assert results.add(entered) is not None
    assert results.add(entered) is None
    results.add(record(Topic.TRANSITIONS, move("2", "c-1", "subscribed", "registered", "advance", "registered")))
    results.add(record(Topic.TRANSITIONS, move("3", "c-2", None, "subscribed", "enter", "subscribed")))
    rows = {row.place: (row.now, row.reached) for row in results.funnel(JOURNEY)}
    assert {"enter": 2, "advance": 1} == results.kinds
    assert {"subscribed": (1, 2), "engaged": (0, 1), "registered": (1, 1)} == {
        place: rows[place] for place in ("subscribed", "engaged", "registered")
    }
    assert 3 == results.transitions and "3" == results.newest[-1].id


def test_an_incident_is_its_newest_revision_and_stays_one_that_fired() -> None:
    results = Results(demo_journeys())
    for rev, status in ((1, "firing"), (3, "resolved"), (2, "firing"), (3, "resolved")):
        results.add(record(Topic.ALERTS, alert(rev, status)))
    [incident] = results.fired
    assert ("complaint", "weekly-2", "resolved", 3) == (
        incident.metric,
        incident.scope_id,
        incident.status,
        incident.rev,
    )


def test_an_incident_that_never_fired_is_not_told() -> None:
    results = Results(demo_journeys())
    results.add(record(Topic.ALERTS, alert(1, "pending", "info")))
    assert () == results.fired


def test_metric_windows_are_counted_by_key_and_not_by_revision() -> None:
    results = Results(demo_journeys())
    for key in (b"campaign/a/1h/x", b"campaign/a/1h/x", b"campaign/a/1d/x"):
        results.add(record(Topic.METRICS, b"{}", key))
    assert 2 == len(results.windows)


def test_a_dead_letter_counts_once_under_the_topic_it_came_from() -> None:
    results = Results(demo_journeys())
    for offset in (4, 5, 5):
        original = record(Topic.RAW, b"{", offset=offset)
        rejected = [Rejected(Reason.UNDECODABLE, "cut")]
        letter = dead_letter(original, Topic.RAW_DLQ, "stagepost-demo.email.raw", "group", rejected)
        results.add(record(Topic.RAW_DLQ, b"{", offset=offset, headers=letter.headers))
    assert {(Topic.RAW, "undecodable"): 2} == results.dead_letters
