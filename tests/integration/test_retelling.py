"""Redis is emptied under a running worker, and while none runs: afterwards explain tells the moves again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.integration.roles import Installation, wait_for

from stagepost.edges.mirror import connect
from stagepost.events import DAY, MICROS, MINUTE, rfc3339

JOURNEY = "journey: path\nstages:\n  - joined: contact.subscribed\n  - reader: {clicked: any}\n"
CONTACTS = 60
START = (int(time.time()) - 5 * 86_400) * MICROS


@pytest.fixture
def installation(kafka, redis_url, topic_prefix, make_topics, tmp_path: Path) -> Installation:  # type: ignore[no-untyped-def]
    make_topics(topic_prefix, partitions=3, tally_partitions=2)
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    (journeys / "path.yaml").write_text(JOURNEY)
    settings = {"STAGEPOST_ENGINE__IDLE_AFTER": "1"}
    return Installation(kafka.bootstrap, redis_url, topic_prefix, journeys, tmp_path, settings)


def publish(installation: Installation, type_: str, at: int, contacts: range) -> None:
    events = [
        {
            "id": f"{type_} {n}",
            "type": type_,
            "occurred_at": rfc3339(at + n * MINUTE),
            "contact": f"c{n}",
            "machine": False,
        }
        for n in contacts
    ]
    installation.produce("email.events", [(event["contact"], json.dumps(event).encode(), []) for event in events])  # type: ignore[misc]


def told(installation: Installation, contact: str) -> list[str] | None:
    """Where explain says that the contact went; None while it knows nothing, erased contacts have nothing to tell."""
    done = installation.cli("explain", contact, "--json")
    if done.returncode != 0:
        return None
    journeys: list[dict[str, Any]] = json.loads(done.stdout)["journeys"]
    return [move["to"] for journey in journeys for move in journey["why"]]


def all_told(installation: Installation) -> bool:
    return all(told(installation, f"c{n}") == ["joined", "reader"] for n in range(0, CONTACTS, 20))


def test_after_a_loss_of_redis_the_moves_of_contacts_are_told_again(installation: Installation) -> None:
    client = connect(installation.redis_url)
    with installation.running("journey") as (worker,):
        publish(installation, "contact.subscribed", START, range(CONTACTS))
        publish(installation, "email.clicked", START + DAY, range(CONTACTS))
        publish(installation, "contact.erased", START + 2 * DAY, range(1, 2))
        wait_for(lambda: all_told(installation), 60, "everybody reads", worker.log)
        client.flushall()
        wait_for(lambda: all_told(installation), 60, "the moves are told again", worker.log)
    client.flushall()
    assert None is told(installation, "c0")
    with installation.running("journey") as (worker,):
        wait_for(lambda: all_told(installation), 60, "the next owner tells them again", worker.log)
        assert [] == told(installation, "c1")
    assert [] == list(client.scan_iter(match=f"*{installation.prefix}*:s:c1", count=1000))
