"""Bad input of every kind: each record ends in its one place with its reason, neighbours unharmed, workers alive."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.integration.roles import Installation, Read, wait_for
from tests.integration.stream import JOURNEY

from stagepost.events import DAY, HOUR, MICROS, murmur2_partition, rfc3339

PARTITIONS = 4
OFFSET = "__dlq.errors.offset"
NOW = int(time.time()) * MICROS


@pytest.fixture
def installation(kafka, redis_url, topic_prefix, make_topics, tmp_path: Path) -> Installation:  # type: ignore[no-untyped-def]
    make_topics(topic_prefix, partitions=PARTITIONS, tally_partitions=2)
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    (journeys / "nurture.yaml").write_text(JOURNEY)
    return Installation(kafka.bootstrap, redis_url, topic_prefix, journeys, tmp_path)


def event(**fields: Any) -> bytes:
    good = {"id": "g", "type": "contact.subscribed", "occurred_at": rfc3339(NOW - HOUR), "contact": "bad-neighbour"}
    return json.dumps({k: v for k, v in {**good, **fields}.items() if v is not ...}).encode()


BAD_EVENTS: list[tuple[str, bytes | None]] = [
    ("undecodable", b"not json"),
    ("undecodable", b""),
    ("undecodable", None),
    ("undecodable", event()[:-5]),
    ("undecodable", b'{"id": "\xff\xfe"}'),
    ("undecodable", event()[:-1] + b', "data": {"total": NaN}}'),
    ("oversize", event(data={"note": "x" * 2_000_000})),
    ("oversize", event()[:-1] + b', "data": ' + b"[" * 500 + b"]" * 500 + b"}"),
    ("schema", b"[]"),
    ("schema", event(id=7)),
    ("schema", event(type="nodot")),
    ("schema", event(machine="perhaps")),
    ("schema", event(occurred_at="yesterday")),
    ("schema", event(occurred_at=1762074000)),
    ("no-contact", event(contact=...)),
    ("no-contact", event(contact="")),
    ("no-contact", event(contact="x" * 300)),
    ("implausible-time", event(occurred_at="1970-01-01T00:00:00Z")),
    ("implausible-time", event(occurred_at=rfc3339(NOW + 3 * DAY))),
]


def test_every_bad_event_is_a_dead_letter_with_its_reason_and_good_ones_go_through(installation: Installation) -> None:
    good = [(f"c{n}", event(id=f"e{n}", contact=f"c{n}"), []) for n in range(40)]
    bad = [(b"bad-neighbour", value, [("odd", b"\xfe")]) for _, value in BAD_EVENTS]
    misplaced = [(b"wrong-key", event(id="m1", contact="moved"), [])]
    with installation.running("journey") as (worker,):
        mixed = [record for pair in zip(good, bad * 3, strict=False) for record in pair]
        installation.produce("email.events", [*mixed[: 2 * len(bad)], *good[len(bad) :], *misplaced])
        wait_for(lambda: len(moved(installation)) == 41, 60, "41 contacts have entered", worker.log)
        letters = installation.read("email.events.dlq")
        assert worker.process.poll() is None
        assert worker.total("stagepost_events_in_total") == 40 + len(BAD_EVENTS) + 2
        assert worker.total("stagepost_events_rerouted_total") == 1
        assert worker.total("stagepost_event_to_transition_seconds_count") == 41
        assert worker.total("stagepost_journey_info", 'journey="nurture"') == 1
        assert worker.total("stagepost_accounting_difference") == 0
    found = Counter((text(letter, "stagepost-reason"), letter.value) for letter in letters)
    assert found == Counter(BAD_EVENTS)
    assert all(letter.key == b"bad-neighbour" and letter.headers["odd"] == b"\xfe" for letter in letters)
    (entered,) = (r for r in installation.read("journey.transitions") if r.key == b"moved")
    assert entered.partition == murmur2_partition(b"moved", PARTITIONS)


def moved(installation: Installation) -> list[Read]:
    return installation.read("journey.transitions")


def text(record: Read, header: str) -> str:
    return record.headers[header].decode()


RAW_HEADERS = [("provider", b"sendgrid"), ("account", b"default"), ("received_at", rfc3339(NOW).encode())]


def sendgrid(**fields: Any) -> dict[str, Any]:
    good = {
        "event": "delivered",
        "email": "ann@example.com",
        "timestamp": NOW // MICROS - 60,
        "sg_message_id": "m1.filter",
        "sg_event_id": "e1",
        "contact_id": "c-ann",
    }
    return {k: v for k, v in {**good, **fields}.items() if v is not ...}


BAD_POSTS: list[tuple[str, bytes, list[tuple[str, bytes]]]] = [
    ("undecodable", b"not json", RAW_HEADERS),
    ("undecodable", json.dumps([sendgrid()]).encode()[:-9], RAW_HEADERS),
    ("undecodable", b'[{"event": "open", "email": "\xff"}]', RAW_HEADERS),
    ("undecodable", b'[{"event": "open", "timestamp": NaN}]', RAW_HEADERS),
    ("oversize", b"[" * 100 + b"]" * 100, RAW_HEADERS),
    ("schema", json.dumps([7]).encode(), RAW_HEADERS),
    ("schema", json.dumps([sendgrid(event=...)]).encode(), RAW_HEADERS),
    ("implausible-time", json.dumps([sendgrid(timestamp=5)]).encode(), RAW_HEADERS),
    ("no-contact", json.dumps([sendgrid(email="", contact_id=...)]).encode(), RAW_HEADERS),
    ("unknown-provider", json.dumps([sendgrid()]).encode(), [("provider", b"pigeon")]),
    ("unknown-provider", json.dumps([sendgrid()]).encode(), []),
]


def test_every_bad_post_is_a_dead_letter_and_bad_parts_leave_their_neighbours(installation: Installation) -> None:
    good = [(b"a", json.dumps([sendgrid(sg_message_id=f"g{n}.filter")]).encode(), RAW_HEADERS) for n in range(20)]
    mixed = json.dumps([sendgrid(sg_message_id="x1.filter"), 7, sendgrid(sg_message_id="x2.filter")]).encode()
    posts = [(b"a", body, headers) for _, body, headers in BAD_POSTS]
    with installation.running("normalise") as (worker,):
        installation.produce("email.raw", [*good[:10], *posts, (b"a", mixed, RAW_HEADERS), *good[10:]])
        wait_for(lambda: len(installation.read("email.events")) == 22, 60, "22 events", worker.log)
        wait_for(lambda: len(installation.read("email.raw.dlq")) == len(BAD_POSTS) + 1, 30, "dead letters", worker.log)
        assert worker.process.poll() is None
        assert worker.total("stagepost_accounting_difference") == 0
    letters = installation.read("email.raw.dlq")
    whole = [letter for letter in letters if letter.value != mixed]
    found = Counter((text(letter, "stagepost-reason"), letter.value) for letter in whole)
    assert found == Counter((reason, body) for reason, body, _ in BAD_POSTS)
    (partly,) = (letter for letter in letters if letter.value == mixed)
    assert text(partly, "stagepost-parts") == "1:schema"
    contacts = {record.key for record in installation.read("email.events")}
    assert contacts == {b"c-ann"}


@pytest.mark.parametrize(("role", "topic"), [("normalise", "email.raw"), ("journey", "email.events")])
def test_a_record_at_the_limit_of_its_topic_is_kept_and_one_that_only_compressed_fitted_is_named(
    installation: Installation, role: str, topic: str
) -> None:
    largest = random.Random(1).randbytes((9 << 20) - 200)
    headers = [("provider", b"sendgrid")]
    installation.produce(topic, [(b"a", largest, headers)])
    installation.produce(topic, [(b"a", b"x" * (30 << 20), headers)], compression="zstd")
    with installation.running(role) as (worker,):
        wait_for(lambda: len(installation.read(f"{topic}.dlq")) == 2, 60, "two dead letters", worker.log)
        assert worker.process.poll() is None
        assert worker.total("stagepost_accounting_difference") == 0
    kept, beyond = sorted(installation.read(f"{topic}.dlq"), key=lambda letter: int(letter.headers[OFFSET]))
    assert ["oversize"] * 2 == [text(letter, "stagepost-reason") for letter in (kept, beyond)]
    assert (largest, None) == (kept.value, beyond.value)
    assert f"value:{30 << 20}" == text(beyond, "stagepost-omitted")
