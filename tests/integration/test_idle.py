"""Partitions without traffic: timers fire by themselves, and the clock goes on even where there never was a record."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.integration.roles import Installation, wait_for

from stagepost.engine.journey_worker import TIMERS_FIRED
from stagepost.engine.plan import CONTROL_KEY, decode_control
from stagepost.events import MICROS, parse_rfc3339, rfc3339

JOURNEY = "journey: j\nstages:\n  - one: contact.subscribed\nexits:\n  - expired: {after: 4s}\n"
PARTITIONS = 4


@pytest.fixture
def installation(kafka, redis_url, topic_prefix, make_topics, tmp_path: Path) -> Installation:  # type: ignore[no-untyped-def]
    make_topics(topic_prefix, partitions=PARTITIONS, tally_partitions=2)
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    (journeys / "j.yaml").write_text(JOURNEY)
    settings = {"STAGEPOST_ENGINE__IDLE_AFTER": "1"}
    return Installation(kafka.bootstrap, redis_url, topic_prefix, journeys, tmp_path, settings)


def test_a_timer_fires_without_traffic_and_every_partition_tells_its_clock(installation: Installation) -> None:
    entered = int(time.time() * MICROS)
    body = {"id": "e1", "type": "contact.subscribed", "occurred_at": rfc3339(entered), "contact": "ann"}
    with installation.running("journey") as (worker,):
        installation.produce("email.events", [("ann", json.dumps(body).encode(), [])])
        wait_for(lambda: len(installation.read("journey.transitions")) == 2, 40, "the timer has fired", worker.log)
        wait_for(lambda: set(clocks(installation)) == set(range(PARTITIONS)), 30, "all partitions", worker.log)
    moves = [record.json() for record in installation.read("journey.transitions")]
    assert [(move["to"], move["kind"]) for move in moves] == [("one", "enter"), ("expired", "exit")]
    assert moves[1]["timer"]["name"] == "after"
    assert parse_rfc3339(moves[1]["at"]) - parse_rfc3339(moves[0]["at"]) == 4 * MICROS
    assert all(clock > entered for clock in clocks(installation).values())


def test_contacts_that_came_at_once_leave_at_once_in_batches_of_bounded_size(installation: Installation) -> None:
    many, entered = 20_000, int(time.time() * MICROS)
    body = {"id": "", "type": "contact.subscribed", "occurred_at": rfc3339(entered), "contact": ""}
    records = [(f"c{n}", json.dumps({**body, "id": f"e{n}", "contact": f"c{n}"}).encode(), []) for n in range(many)]
    with installation.running("journey") as (worker,):
        installation.produce("email.events", records)
        wait_for(lambda: len(installation.read("journey.transitions")) == 2 * many, 90, "all have left", worker.log)
    seen = [record.json() for record in installation.read("journey.transitions")]
    moves = Counter((move["kind"], move["contact"]) for move in seen)
    assert moves == Counter((kind, f"c{n}") for n in range(many) for kind in ("enter", "exit"))
    fired = Counter[int]()
    for record in installation.read("stagepost.state"):
        if record.key == CONTROL_KEY:
            control = decode_control(record.value or b"")
            fired[record.partition] += control.clock == entered + 4 * MICROS
    # All are due at the same time, and no batch of a partition takes more than it can commit.
    assert min(fired.values()) >= many // PARTITIONS // TIMERS_FIRED


def clocks(installation: Installation) -> dict[int, int]:
    """Partition clock by partition, from the control records."""
    records = installation.read("stagepost.state")
    return {r.partition: decode_control(r.value or b"").clock for r in records if r.key == CONTROL_KEY}
