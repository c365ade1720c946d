"""The benches that need servers, small: that each job does the whole of its work, not how fast."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def bench(kafka, redis_url: str, *words: str) -> dict:  # type: ignore[no-untyped-def, type-arg]
    command = [sys.executable, "-m", "stagepost", "bench", *words, "--kafka", kafka.bootstrap, "--redis", redis_url]
    run = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    return json.loads(run.stdout)


def test_every_job_of_bench_journey_makes_the_transitions_that_it_has_to(kafka, redis_url: str) -> None:  # type: ignore[no-untyped-def]
    found = bench(kafka, redis_url, "journey", "--events", "2000", "--rounds", "1", "--peers", "none")
    jobs = found["jobs"]
    assert set(jobs) == {"consume-decode", "journey", "journey-redis", "journey-two"}
    assert jobs["journey"]["expected"] > 100
    for name in ("journey", "journey-redis", "journey-two"):
        assert jobs[name]["transitions"] == [jobs[name]["expected"]]
        assert jobs[name]["peak_mb"] > 30
    assert found["skipped"] == {}


def test_bench_restore_reads_and_restores_every_contact(kafka, redis_url: str) -> None:  # type: ignore[no-untyped-def]
    found = bench(kafka, redis_url, "restore", "--events", "3000", "--rounds", "1")
    assert found["contacts"] == 3_000
    assert found["reader"]["per_s"] > 0
    assert found["restore"]["per_s"] > 0


def test_bench_latency_finds_the_event_of_every_transition(kafka, redis_url: str) -> None:  # type: ignore[no-untyped-def]
    found = bench(kafka, redis_url, "latency", "--rate", "200", "--seconds", "6")
    assert found["transitions"] > 50
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
