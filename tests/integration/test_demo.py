"""``stagepost demo`` as a user runs it, from the first line to what it leaves behind: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stagepost.demo.stage import PREFIX
from stagepost.edges.admin import admin_client, missing_topics
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Topic
from stagepost.testing.servers import KafkaServer

ENOUGH_S = 150
"""A loaded machine plays longer than asked: the history is never cut."""


def start(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("STAGEPOST_")}
    return subprocess.Popen(
        [sys.executable, "-m", "stagepost", "demo", "--json", *options],
        env=outside | {"TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(tmp_path: Path) -> Iterator[str]:
    """Command lines of what still runs with our temporary folder in its environment."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and str(tmp_path).encode() in (entry / "environ").read_bytes():
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def ended(demo: subprocess.Popen[str], tmp_path: Path) -> dict[str, Any]:
    """The object at the end of a demo that went well and left nothing behind."""
    out, err = demo.communicate(timeout=ENOUGH_S)
    assert 0 == demo.returncode, f"{err[-4000:]}\n{out}"
    assert [] == list(processes_of(tmp_path))
    assert [] == list(tmp_path.iterdir())
    found: dict[str, Any] = json.loads(out)
    return found


def as_planted(found: dict[str, Any]) -> None:
    """What must be true of every complete run."""
    classes = ("applied", "duplicates", "late", "suppressed", "dead_lettered")
    planted = found["planted"]
    assert found["balanced"] and found["complete"] and [] == found["problems"]
    assert found["events"] == sum(found[name] for name in classes)
    assert found["dead_lettered"] == planted["malformed"] == sum(found["dead_letters"].values())
    assert found["duplicates"] >= planted["duplicated"] > 0
    assert found["late"] >= planted["late"] > 0
    assert {
        ("complaint", "campaign", planted["complaint_campaign"]),
        ("unsubscribe", "campaign", planted["unsubscribe_campaign"]),
    } == {(alert["metric"], alert["scope"]["type"], alert["scope"]["id"]) for alert in found["alerts"]}
    assert {"enter", "advance", "setback", "recover", "stall", "exit", "reenter"} == set(found["transitions"])
    assert found["metrics_windows"] > 100
    stages = found["funnel"]["webinar-nurture"]
    assert stages["subscribed"]["reached"] >= 3_000
    assert stages["subscribed"]["reached"] == sum(place["now"] for place in stages.values())


def test_the_demo_shows_what_it_planted_and_leaves_nothing_behind(tmp_path: Path) -> None:
    as_planted(ended(start(tmp_path, "--for", "30s", "--seed", "5"), tmp_path))


def until_the_first_move(demo: subprocess.Popen[str]) -> list[str]:
    """What it said up to then."""
    assert demo.stderr is not None
    lines = []
    for line in demo.stderr:
        lines.append(line)
        if "first move" in line:
            break
    return lines


def test_the_first_move_is_shown_and_ctrl_c_ends_in_order(tmp_path: Path) -> None:
    demo = start(tmp_path)
    lines = until_the_first_move(demo)
    assert "demo: embedded broker, nothing is kept, not for production\n" == lines[0]
    demo.send_signal(signal.SIGINT)
    found = ended(demo, tmp_path)
    assert found["balanced"] and not found["complete"]
    assert found["transitions"]["enter"] > 0


def test_a_demo_that_is_killed_leaves_nothing_behind_either(tmp_path: Path) -> None:
    demo = start(tmp_path)
    until_the_first_move(demo)
    demo.kill()
    demo.communicate()
    deadline = time.monotonic() + 15
    while list(processes_of(tmp_path)) or list(tmp_path.iterdir()):
        assert time.monotonic() < deadline, [*processes_of(tmp_path), *tmp_path.iterdir()]
        time.sleep(0.1)


@pytest.mark.slow
def test_on_a_real_broker_it_refuses_what_an_earlier_demo_left_and_removes_what_it_made(
    tmp_path: Path, kafka: KafkaServer, redis_url: str
) -> None:
    servers = ("--kafka", kafka.bootstrap, "--redis", redis_url, "--for", "30s")
    kept = start(tmp_path, *servers, "--keep")
    until_the_first_move(kept)
    kept.send_signal(signal.SIGINT)
    assert ended(kept, tmp_path)["balanced"]
    refused = start(tmp_path, *servers)
    assert "--reuse deletes and makes them anew" in refused.communicate(timeout=ENOUGH_S)[1]
    assert 1 == refused.returncode
    as_planted(ended(start(tmp_path, *servers, "--reuse"), tmp_path))
    names = [TopicNames(PREFIX).full(topic) for topic in Topic]
    assert names == missing_topics(admin_client(kafka.bootstrap), names)
