"""The normalise role under fire: every post becomes its events, and its dead letter, exactly once."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path

import pytest
from tests.integration.roles import TENANT_KEY, Installation, wait_for

from stagepost.bench import stream
from stagepost.events import MICROS, encode_json, rfc3339
from stagepost.normalise import Post, normalise

EVENTS = 12_000
KILLS = 8
PIECES = 40


@pytest.fixture
def installation(kafka, redis_url, topic_prefix, make_topics, tmp_path: Path) -> Installation:  # type: ignore[no-untyped-def]
    make_topics(topic_prefix, partitions=4, tally_partitions=2)
    return Installation(kafka.bootstrap, redis_url, topic_prefix, tmp_path, tmp_path, {"STAGEPOST_ENGINE__BATCH": "5"})


def posts() -> list[tuple[int, bytes]]:
    """Bodies with the time of their arrival; one in ten is cut off in the middle."""
    now = int(time.time()) * MICROS
    made = [body for _, body in stream.posts(EVENTS, 300, 3) if isinstance(body, bytes)]
    return [(now + n, body[: len(body) // 2] if n % 10 == 9 else body) for n, body in enumerate(made)]


def test_killed_again_and_again_each_post_becomes_its_events_once(installation: Installation) -> None:
    made = posts()

    def feed() -> None:
        for n in range(PIECES):
            part = made[n * len(made) // PIECES : (n + 1) * len(made) // PIECES]
            records = [
                (f"k{at}", body, [("provider", b"sendgrid"), ("received_at", rfc3339(at).encode())])
                for at, body in part
            ]
            installation.produce("email.raw", records)
            time.sleep(0.3)

    feeding = threading.Thread(target=feed)
    feeding.start()
    chance = random.Random(5)
    for _ in range(KILLS):
        worker = installation.start("normalise")
        worker.wait_ready()
        time.sleep(chance.uniform(0.1, 0.8))
        worker.kill()
    feeding.join()
    cut = sum(n % 10 == 9 for n in range(len(made)))
    wanted = sorted(expected(made))
    with installation.running("normalise") as (worker,):
        wait_for(
            lambda: (
                len(installation.read("email.raw.dlq")) >= cut and len(installation.read("email.events")) >= len(wanted)
            ),
            60,
            "every post is read",
            worker.log,
        )
    assert sorted(without_place(record.json()) for record in installation.read("email.events")) == wanted
    letters = installation.read("email.raw.dlq")
    assert {letter.headers["stagepost-reason"] for letter in letters} == {b"undecodable"}
    assert len(letters) == cut


def expected(made: list[tuple[int, bytes]]) -> list[str]:
    found = []
    for at, body in made:
        post = Post(provider="sendgrid", account="default", body=body, headers={}, received_at=at)
        found += [
            without_place(json.loads(encode_json(event)))
            for event in normalise(post, tenant_key=TENANT_KEY.encode()).events
        ]
    return found


def without_place(event: dict[str, object]) -> str:
    """As text, but for the place of its post, which only the broker knows."""
    return json.dumps({name: value for name, value in event.items() if name != "raw"}, sort_keys=True)
