"""A journey file is changed: planned against what runs, put in force by workers that are killed, then explained."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.integration.roles import Installation, wait_for

from stagepost.events import DAY, MICROS, MINUTE, rfc3339

HEAD = "journey: path\nstages:\n  - joined: contact.subscribed\n"
OLD = HEAD + "  - reader: {clicked: any}\n  - buyer: order.completed\n"
NEW = HEAD + "  - buyer: order.completed\nsetbacks:\n  - cold: {quiet: 60d, until: never}\n"
CONTACTS = 300
START = (int(time.time()) - 5 * 86_400) * MICROS


@pytest.fixture
def installation(kafka, redis_url, topic_prefix, make_topics, tmp_path: Path) -> Installation:  # type: ignore[no-untyped-def]
    make_topics(topic_prefix, partitions=2, tally_partitions=2)
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    (journeys / "path.yaml").write_text(OLD)
    settings = {"STAGEPOST_ENGINE__PIECE": "10"}
    return Installation(kafka.bootstrap, redis_url, topic_prefix, journeys, tmp_path, settings)


def feed(installation: Installation) -> None:
    events = [
        (at, contact, type_)
        for contact in range(CONTACTS)
        for at, type_ in ((START, "contact.subscribed"), (START + DAY, "email.clicked"))
    ]
    installation.produce(
        "email.events",
        [
            (
                f"c{contact}",
                json.dumps(
                    {
                        "id": f"e{number}",
                        "type": type_,
                        "occurred_at": rfc3339(at + contact * MINUTE),
                        "contact": f"c{contact}",
                        "machine": False,
                    }
                ).encode(),
                [],
            )
            for number, (at, contact, type_) in enumerate(sorted(events))
        ],
    )


def moves(installation: Installation) -> list[tuple[str, str, str]]:
    found = [record.json() for record in installation.read("journey.transitions")]
    return [(move["contact"], move["kind"], move["to"]) for move in found]


def test_a_change_is_planned_put_in_force_once_and_explained(installation: Installation) -> None:
    with installation.running("journey") as (worker,):
        feed(installation)
        wait_for(lambda: len(moves(installation)) == 2 * CONTACTS, 60, "everybody reads", worker.log)
        wait_for(lambda: plan(installation)[0] == 0, 30, "the mirror has everybody", worker.log)
    (installation.journeys / "path.yaml").write_text(NEW)

    code, planned = plan(installation)
    assert (code, planned["contacts"]) == (2, CONTACTS)
    assert planned["moves"] == [{"journey": "path", "from": "reader", "to": "joined", "contacts": CONTACTS}]
    assert [(c["rule"], c["change"]) for c in planned["changes"]] == [
        ("setbacks.cold", "added"),
        ("stages.reader", "removed"),
    ]

    killed = 0
    while killed < 3:
        worker = installation.start("journey")
        before = len(moves(installation))
        wait_for(
            lambda: len(moves(installation)) > before or len(moves(installation)) == 3 * CONTACTS,  # noqa: B023
            60,
            "the change goes on",
            worker.log,
        )
        worker.kill()
        killed += 1
    with installation.running("journey") as (worker,):
        wait_for(lambda: len(moves(installation)) == 3 * CONTACTS, 60, "everybody was brought up", worker.log)
        wait_for(lambda: plan(installation)[0] == 0, 30, "nothing is left to change", worker.log)
    made = moves(installation)
    assert Counter(made) == {
        (f"c{n}", kind, to): 1
        for n in range(CONTACTS)
        for kind, to in (("enter", "joined"), ("advance", "reader"), ("migrate", "joined"))
    }

    explained = explain(installation, "c7", "--history")
    (path,) = explained["journeys"]
    assert [(m["move"], m["kind"], m["to"], m["line"]) for m in path["why"]] == [
        (1, "enter", "joined", None),
        (2, "advance", "reader", None),
        (3, "migrate", "joined", 3),
    ]  # lines of a version that nobody is on any more are not kept
    assert [(e["type"], e["moved"]) for e in explained["events"]] == [
        ("contact.subscribed", ["path: none -> joined"]),
        ("email.clicked", ["path: joined -> reader"]),
    ]
    assert explain(installation, "c7")["journeys"][0]["why"] == path["why"]
    assert (path["place"], [m["to"] for m in path["missing"]]) == ("joined", ["buyer"])
    assert installation.cli("explain", "nobody").returncode == 1


def plan(installation: Installation) -> tuple[int, dict[str, object]]:
    done = installation.cli("plan", str(installation.journeys), "--json")
    assert done.returncode in (0, 2), done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


def explain(installation: Installation, *words: str) -> dict[str, list[dict[str, list[dict[str, object]]]]]:
    done = installation.cli("explain", *words, "--json")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)  # type: ignore[no-any-return]
