"""``stagepost repartition`` between two halves of a stream: the moves are those of one run over the whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import redis
from confluent_kafka.admin import NewPartitions
from tests.integration.roles import Installation, Read, by_partition, wait_for
from tests.integration.stream import JOURNEY

from stagepost.edges.admin import admin_client
from stagepost.edges.keys import MirrorKeys
from stagepost.engine.intake import Incoming, read_event
from stagepost.engine.plan import CONTROL_KEY, decode_control
from stagepost.events import DAY, HOUR, MICROS, Event, murmur2_partition, rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.parse import parse_journey
from stagepost.journey.simulate import Simulation

BEFORE, AFTER = 3, 5
CONTACTS = [f"c{n}" for n in range(150)]
START = int(time.time()) * MICROS - 40 * DAY
SPAN = 15 * DAY


@pytest.fixture
def installation(kafka, redis_url, topic_prefix, make_topics, tmp_path: Path) -> Installation:  # type: ignore[no-untyped-def]
    make_topics(topic_prefix, partitions=BEFORE, tally_partitions=2)
    (tmp_path / "journeys").mkdir()
    (tmp_path / "journeys" / "nurture.yaml").write_text(JOURNEY)
    # Idle partitions must not run ahead of the input while it still comes in.
    settings = {"STAGEPOST_ENGINE__IDLE_AFTER": "3600", "STAGEPOST_ENGINE__BATCH": "200"}
    return Installation(kafka.bootstrap, redis_url, topic_prefix, tmp_path / "journeys", tmp_path, settings)


def half(number: int, partitions: int) -> list[tuple[str, bytes]]:
    """Events of all contacts in order of time over half of the span, and one at its end for every partition: there all
    clocks are the same, whatever lies where."""
    begin, end = START + number * SPAN, START + (number + 1) * SPAN
    made: list[tuple[int, str, dict[str, object]]] = []
    for place, contact in enumerate(CONTACTS):
        for n in range(10):
            at = begin + (n * SPAN // 10) + place * HOUR // 200
            kind = (place * 7 + n * 3 + number) % 6
            campaign = {
                "campaign": f"weekly-{number}-{n // 3}",
                "message": f"m{number}-{n // 3}",
                "provider": "sendgrid",
            }
            more: dict[str, object] = [
                {"type": "contact.subscribed"},
                {"type": "email.delivered", **campaign},
                {"type": "email.clicked", "machine": False, "url": "https://example.com/pricing/a", **campaign},
                {"type": "email.clicked", "machine": None, "url": "https://example.com/blog/b", **campaign},
                {"type": "email.delivered", **campaign, "message": f"n{number}-{n}"},
                {"type": "order.completed", "data": {"total": place % 3}},
            ][kind]  # type: ignore[assignment]
            made.append((at, contact, more))
    for partition in range(partitions):
        name = next(f"end{n}" for n in range(10_000) if murmur2_partition(f"end{n}".encode(), partitions) == partition)
        made.append((end, name, {"type": "clock.struck"}))
    return [
        (
            contact,
            json.dumps(
                {"id": f"{number}-{contact}-{at}", "occurred_at": rfc3339(at), "contact": contact, **more}
            ).encode(),
        )
        for at, contact, more in sorted(made, key=lambda each: each[0])
    ]


def at_rest(installation: Installation) -> bool:
    ends = {p: records[-1].offset + 1 for p, records in by_partition(installation.read("email.events")).items()}
    controls = {
        r.partition: decode_control(r.value or b"")
        for r in installation.read("stagepost.state")
        if r.key == CONTROL_KEY
    }
    return all(p in controls and controls[p].in_off == end for p, end in ends.items())


def processed(installation: Installation, events: list[tuple[str, bytes]]) -> None:
    installation.produce("email.events", ((contact, body, []) for contact, body in events))
    with installation.running("journey") as (worker,):
        wait_for(lambda: at_rest(installation), 60, "everything is committed", worker.log)
        assert 0 == worker.total("stagepost_events_rerouted_total")


def simulated(events: list[tuple[str, bytes]]) -> list[dict[str, object]]:
    journey = parse_journey(JOURNEY, "nurture.yaml").journey
    assert journey is not None
    simulation = Simulation(compile_program([journey]))

    def feed() -> list[tuple[Event, int]]:
        read = [read_event(body, broker_time=int(time.time()) * MICROS) for _, body in events]
        return [(each.event, each.at) for each in read if isinstance(each, Incoming)]

    return [msgspec.to_builtins(move) for move in simulation.run(iter(feed()))]


def by_contact(moves: list[dict[str, object]]) -> dict[object, list[dict[str, object]]]:
    found: dict[object, list[dict[str, object]]] = {}
    for move in moves:
        found.setdefault(move["contact"], []).append(move)
    return found


def folded(records: list[Read]) -> dict[tuple[int, bytes], bytes]:
    fold: dict[tuple[int, bytes], bytes] = {}
    for record in records:
        assert record.key is not None
        if record.value is None:
            fold.pop((record.partition, record.key), None)
        else:
            fold[record.partition, record.key] = record.value
    return fold


def killed_at(installation: Installation, said: str) -> None:
    """Run the verb, and end it without warning once it has said this."""
    command = [sys.executable, "-m", "stagepost", "repartition", "--partitions", str(AFTER)]
    with subprocess.Popen(command, env=installation.env(), stderr=subprocess.PIPE, cwd=installation.logs) as process:
        assert process.stderr is not None
        heard = []
        for line in process.stderr:
            heard.append(line.decode())
            if said in heard[-1]:
                process.send_signal(signal.SIGKILL)
                return
    raise AssertionError(f"never said {said!r}: {heard}")


@pytest.mark.slow
def test_killed_in_the_middle_and_run_again_it_changes_no_move(installation: Installation) -> None:
    first, second = half(0, BEFORE), half(1, AFTER)
    processed(installation, first)

    would = json.loads(installation.cli("repartition", "--partitions", str(AFTER), "--dry-run", "--json").stdout)
    names = {contact for contact, _ in first}
    moving = sum(murmur2_partition(c.encode(), BEFORE) != murmur2_partition(c.encode(), AFTER) for c in names)
    assert (BEFORE, AFTER, moving, False) == (would["from"], would["to"], would["contacts"], would["done"])

    killed_at(installation, "stagepost.state has 5 partitions")
    refused = installation.start("journey")
    assert 1 == refused.process.wait(30)
    assert "stagepost repartition" in refused.tail()
    killed_at(installation, "partition 1: ")
    killed_at(installation, "every partition is closed")
    done = installation.cli("repartition", "--partitions", str(AFTER), "--json")
    assert (0, True) == (done.returncode, json.loads(done.stdout)["done"]), done.stderr
    again = installation.cli("repartition", "--partitions", str(AFTER))
    assert (0, b"email.events has 5 partitions already\n") == (again.returncode, again.stdout)
    assert 0 == installation.cli("topics", "check").returncode

    processed(installation, second)
    transitions = installation.read("journey.transitions")
    published = [record.json() for record in transitions]
    assert {1} == set(Counter(move["id"] for move in published).values())
    expected = by_contact(simulated([*first, *second]))
    actual = by_contact(sorted(published, key=lambda move: (str(move["contact"]), str(move["run"]), move["move"])))
    assert len(published) > 300
    assert {c: [m["id"] for m in moves] for c, moves in expected.items()} == {
        c: [m["id"] for m in moves] for c, moves in actual.items()
    }
    assert expected == actual

    for topic in ("stagepost.state", "journey.contacts"):
        for partition, key in folded(installation.read(topic)):
            if key[:1] != b"\x00":
                assert partition == murmur2_partition(key.rpartition(b"/")[2], AFTER)
    redis_is_the_fold(installation)
    moved = next(
        c for c in sorted(names) if murmur2_partition(c.encode(), BEFORE) != murmur2_partition(c.encode(), AFTER)
    )
    installation.produce("email.events", [(moved, b"not an event", [])])
    with installation.running("journey"):
        wait_for(lambda: len(installation.read("email.events.dlq")) == 1, 60, "the dead letter")
    everything_of(installation, moved, [*first, *second])


def everything_of(installation: Installation, contact: str, sent: list[tuple[str, bytes]]) -> None:
    """The export of a contact has its events from before the change and after it, in order, and its dead letters."""
    whole = json.loads(installation.cli("contact", "export", contact).stdout)
    mine = [json.loads(value)["id"] for key, value in sent if key == contact]
    assert len(mine) > 2
    assert (mine, True) == ([event["id"] for event in whole["events"]], whole["whole"])
    assert [("undecodable", "not an event")] == [(each["reason"], each["value"]) for each in whole["dead_letters"]]


def redis_is_the_fold(installation: Installation) -> None:
    keys = MirrorKeys.of(installation.prefix, "journey")
    expected = {
        place: value for place, value in folded(installation.read("stagepost.state")).items() if place[1] != CONTROL_KEY
    }
    found: dict[tuple[int, bytes], bytes] = {}
    stories = 0
    with redis.Redis.from_url(installation.redis_url) as client:
        for partition in range(AFTER):
            for bucket in client.scan_iter(keys.buckets(partition) + "*", count=1000):
                found |= {(partition, key): value for key, value in client.hgetall(bucket).items()}
            for name in client.scan_iter(keys.stories(partition) + "*", count=1000):
                stories += 1
                assert partition == murmur2_partition(name.removeprefix(keys.stories(partition).encode()), AFTER)
    assert expected == found
    assert stories >= len(CONTACTS) * 0.9


def test_it_refuses_while_workers_run_or_input_is_left_and_says_which(installation: Installation) -> None:
    processed(installation, half(0, BEFORE))
    with installation.running("journey"):
        run = installation.cli("repartition", "--partitions", str(AFTER))
    assert (1, f"{installation.prefix}stagepost.journey: 1 worker running; stop them first\n") == (
        run.returncode,
        run.stdout.decode(),
    )
    home = murmur2_partition(b"c1", BEFORE)
    installation.produce("email.events", [("c1", half(1, AFTER)[0][1], [])])
    run = installation.cli("repartition", "--partitions", str(AFTER), "--json")
    assert (1, {str(home): 1}) == (run.returncode, json.loads(run.stdout)["left"])
    fewer = installation.cli("repartition", "--partitions", "2")
    assert 1 == fewer.returncode
    assert b"Kafka cannot take any away" in fewer.stderr
    counts = {
        len(t.partitions)
        for n, t in admin_client(installation.bootstrap).list_topics().topics.items()
        if n == installation.topic("stagepost.state")
    }
    assert {BEFORE} == counts


def test_an_input_that_was_made_larger_by_hand_is_mended(installation: Installation) -> None:
    processed(installation, half(0, BEFORE))
    client = admin_client(installation.bootstrap)
    for future in client.create_partitions([NewPartitions(installation.topic("email.events"), AFTER)]).values():
        future.result()
    wait_for(
        lambda: len(client.list_topics().topics[installation.topic("email.events")].partitions) == AFTER, 20, "grown"
    )
    run = installation.cli("repartition", "--partitions", str(AFTER), "--json")
    assert (0, True) == (run.returncode, json.loads(run.stdout)["done"]), run.stderr
    processed(installation, half(1, AFTER))
    published = [record.json() for record in installation.read("journey.transitions")]
    assert sorted(m["id"] for m in published) == sorted(m["id"] for m in simulated([*half(0, BEFORE), *half(1, AFTER)]))  # type: ignore[type-var]
