"""The rollup role on a real broker: killed and restarted, it publishes the numbers of an undisturbed run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.integration.roles import Installation, wait_for

from stagepost.events import DAY, HOUR, MICROS, MINUTE, rfc3339

START = (int(time.time()) * MICROS // DAY - 10) * DAY
CONTACTS = 400
JOURNEY = "journey: j\nstages:\n  - sent: email.delivered\n"


def history() -> list[tuple[str, bytes, list[tuple[str, bytes]]]]:
    """Two campaigns over five days: every contact gets both, a fifth clicks twice; and a later event for the clock."""
    made: list[tuple[int, str, dict[str, Any]]] = []
    for n in range(CONTACTS):
        for day, campaign in ((0, "one"), (2, "two")):
            at = START + day * DAY + n * MINUTE
            send = {"campaign": campaign, "message": f"{campaign}-{n}", "provider": "sendgrid"}
            made.append((at, f"c{n}", {"type": "email.sent", **send}))
            made.append((at + MINUTE, f"c{n}", {"type": "email.delivered", **send}))
            if n % 5 == 0:
                click = {"type": "email.clicked", "machine": False, "url": "https://example.com/", **send}
                made += [(at + HOUR, f"c{n}", click), (at + 2 * HOUR, f"c{n}", click)]
        made.append((START + 6 * DAY, f"c{n}", {"type": "page.seen"}))
    made.sort(key=lambda entry: entry[0])
    return [
        (c, json.dumps({"id": f"e{i}", "occurred_at": rfc3339(at), "contact": c, **fields}).encode(), [])
        for i, (at, c, fields) in enumerate(made)
    ]


@pytest.fixture
def installation(kafka, redis_url, topic_prefix, make_topics, tmp_path: Path) -> Installation:  # type: ignore[no-untyped-def]
    make_topics(topic_prefix, partitions=2, tally_partitions=2)
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    (journeys / "j.yaml").write_text(JOURNEY)
    settings = {"STAGEPOST_ENGINE__BATCH": "50"}
    return Installation(kafka.bootstrap, redis_url, topic_prefix, journeys, tmp_path, settings)


def final_windows(installation: Installation) -> dict[tuple[str, str, str], dict[str, int]]:
    """Newest counts of each window, by campaign, window and start."""
    found: dict[tuple[str, str, str], tuple[int, dict[str, int]]] = {}
    for record in installation.read("email.metrics"):
        body = record.json()
        key = (body["scope"]["id"], body["window"], body["start"])
        if body["rev"] >= found.get(key, (0, {}))[0]:
            found[key] = (body["rev"], body["counts"])
    return {key: counts for key, (_, counts) in found.items()}


def test_killed_and_restarted_with_and_without_redis_the_metrics_are_a_recount_of_the_input(
    installation: Installation,
) -> None:
    installation.produce("email.events", history())
    with installation.running("journey") as (journey,):
        for n in range(5):
            rollup = installation.start("rollup")
            try:
                rollup.wait_ready()
                time.sleep(0.3 * n)
            finally:
                rollup.kill()
            if n == 2:
                with redis.Redis.from_url(installation.redis_url) as client:
                    client.flushdb()
        with installation.running("rollup") as (last,):
            wait_for(
                lambda: all_time(installation).get("two", {}).get("clicked") == 2 * CONTACTS // 5,
                90,
                "everything is counted",
                last.log,
            )
            assert journey.process.poll() is None
            assert last.total("stagepost_tally_watermark_seconds") >= (START + 6 * DAY) / MICROS - 1
    wanted = {
        "sent": CONTACTS,
        "delivered": CONTACTS,
        "clicked": 2 * CONTACTS // 5,
        "clicked.human": 2 * CONTACTS // 5,
        "clicked.unique": CONTACTS // 5,
        "clicked.unique.human": CONTACTS // 5,
    }
    totals = all_time(installation)
    assert {name: {m: totals[name][m] for m in wanted} for name in ("one", "two")} == {"one": wanted, "two": wanted}
    windows = final_windows(installation)
    for campaign in ("one", "two"):
        days = [counts for (name, window, _), counts in windows.items() if (name, window) == (campaign, "1d")]
        assert sum(counts.get("delivered", 0) for counts in days) == CONTACTS


def all_time(installation: Installation) -> dict[str, dict[str, int]]:
    return {name: counts for (name, window, _), counts in final_windows(installation).items() if window == "all"}
