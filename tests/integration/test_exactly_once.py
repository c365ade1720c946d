"""The journey role under fire: what a read_committed client sees equals ``simulate`` of the input, id for id."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import redis
from tests.integration.roles import Installation, Read, by_partition, wait_for
from tests.integration.stream import JOURNEY, events

from stagepost.edges.keys import MirrorKeys
from stagepost.engine.intake import Incoming, read_event
from stagepost.engine.plan import CONTROL_KEY, Control, decode_control
from stagepost.events import DAY, MICROS, rfc3339

EVENTS = 15_000
CONTACTS = 400
KILLS = 15
PARTITIONS = 4


@pytest.fixture
def installation(kafka, redis_url, topic_prefix, make_topics, tmp_path: Path) -> Installation:  # type: ignore[no-untyped-def]
    make_topics(topic_prefix, partitions=PARTITIONS, tally_partitions=2)
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    (journeys / "nurture.yaml").write_text(JOURNEY)
    # Idle partitions must not run ahead of the input while it still comes in.
    settings = {"STAGEPOST_ENGINE__IDLE_AFTER": "3600", "STAGEPOST_ENGINE__BATCH": "200"}
    return Installation(kafka.bootstrap, redis_url, topic_prefix, journeys, tmp_path, settings)


def feed(installation: Installation, count: int, seconds: float) -> threading.Thread:
    """Publish ``count`` seeded events within about ``seconds``, from a thread."""
    start = int(time.time()) * MICROS - 40 * DAY

    def run() -> None:
        made = list(events(seed=7, contacts=CONTACTS, count=count, start=start))
        pieces = 100
        for n in range(pieces):
            part = made[n * count // pieces : (n + 1) * count // pieces]
            installation.produce("email.events", ((contact, body, []) for contact, body in part))
            time.sleep(seconds / pieces)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def committed_everything(installation: Installation) -> bool:
    """Whether the control records have come to the end of every input partition."""
    ends = {p: records[-1].offset + 1 for p, records in by_partition(installation.read("email.events")).items()}
    controls = last_controls(installation)
    return all(p in controls and controls[p].in_off == end for p, end in ends.items())


def last_controls(installation: Installation) -> dict[int, Control]:
    records = installation.read("stagepost.state")
    return {r.partition: decode_control(r.value or b"") for r in records if r.key == CONTROL_KEY}


def simulated(installation: Installation, partition: list[Read], until: int) -> list[object]:
    """What ``stagepost simulate`` makes of one input partition in log order."""
    lines = []
    for record in partition:
        read = read_event(record.value, headers=(), broker_time=record.timestamp_ms * 1000)
        assert isinstance(read, Incoming)
        lines.append(msgspec.json.encode(msgspec.structs.replace(read.event, occurred_at=rfc3339(read.at))))
    command = [sys.executable, "-m", "stagepost", "simulate", str(installation.journeys)]
    done = subprocess.run(
        [*command, "--events", "-", "--json", "--until", rfc3339(until)],
        input=b"\n".join(lines),
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_output_is_the_simulation(installation: Installation) -> None:
    inputs = by_partition(installation.read("email.events"))
    outputs = by_partition(installation.read("journey.transitions"))
    controls = last_controls(installation)
    for partition, records in inputs.items():
        expected = simulated(installation, records, controls[partition].clock)
        actual = [record.json() for record in outputs.get(partition, [])]
        assert [move["id"] for move in actual] == [move["id"] for move in expected]  # type: ignore[index]
        assert actual == expected
        assert len(expected) > 200


def assert_redis_is_the_fold_of_the_state_topic(installation: Installation) -> None:
    fold: dict[int, dict[bytes, bytes]] = {}
    for record in installation.read("stagepost.state"):
        states = fold.setdefault(record.partition, {})
        if record.key == CONTROL_KEY:
            continue
        assert record.key is not None
        if record.value is None:
            states.pop(record.key, None)
        else:
            states[record.key] = record.value
    keys = MirrorKeys.of(installation.prefix, "journey")
    with redis.Redis.from_url(installation.redis_url) as client:
        for partition, expected in fold.items():
            found: dict[bytes, bytes] = {}
            for bucket in client.scan_iter(keys.buckets(partition) + "*", count=1000):
                found |= client.hgetall(bucket)
            assert found == expected


def kill_while_events_flow(installation: Installation, between: Callable[[int], None]) -> None:
    chance = random.Random(11)
    feeding = feed(installation, EVENTS, seconds=KILLS * 1.5)
    try:
        kill_again_and_again(installation, chance, between)
    finally:
        feeding.join()
    with installation.running("journey") as (worker,):
        wait_for(lambda: committed_everything(installation), 90, "everything is committed", worker.log)
    assert_output_is_the_simulation(installation)


def kill_again_and_again(installation: Installation, chance: random.Random, between: Callable[[int], None]) -> None:
    for n in range(KILLS):
        worker = installation.start("journey")
        try:
            worker.wait_ready()
            time.sleep(chance.random() * 1.5)
        finally:
            worker.kill()
        between(n)


@pytest.mark.slow
def test_killed_fifteen_times_and_later_without_redis_the_worker_publishes_every_move_once_and_in_order(
    installation: Installation,
) -> None:
    def flush(n: int) -> None:
        if n >= KILLS // 2 and n % 3 == 0:
            with redis.Redis.from_url(installation.redis_url) as client:
                client.flushdb()

    kill_while_events_flow(installation, between=flush)
    assert_redis_is_the_fold_of_the_state_topic(installation)


@pytest.mark.slow
def test_a_second_worker_joins_and_leaves_and_no_move_is_lost_or_doubled(installation: Installation) -> None:
    feeding = feed(installation, EVENTS // 2, seconds=12)
    with installation.running("journey") as (first,):
        for _ in range(2):
            with installation.running("journey"):
                time.sleep(3)
        feeding.join()
        wait_for(lambda: committed_everything(installation), 90, "everything is committed", first.log)
    assert_output_is_the_simulation(installation)
    assert_redis_is_the_fold_of_the_state_topic(installation)
