from __future__ import annotations

import os
import subprocess
import sys

import pytest

from stagepost.bench import usage
from stagepost.bench.usage import Sample, between_commits


def test_the_warm_up_is_left_out_and_the_rest_counts_to_the_first_sight_of_the_end() -> None:
    samples = [
        Sample(0.0, 0, 1.0),
        Sample(1.0, 100, 2.0),
        Sample(2.0, 200, 2.5),
        Sample(3.0, 600, 4.5),
        Sample(4.0, 1_000, 6.5),
        Sample(5.0, 1_000, 6.6),
    ]
    taken = between_commits(samples, 1_000)
    assert (taken.events, taken.cpu_s, taken.wall_s) == (800, 4.0, 2.0)
    assert (taken.cpu_us, taken.wall_us) == (5_000.0, 2_500.0)


@pytest.mark.parametrize("seen", [[], [Sample(1.5, 900, 2.9)]])
def test_few_large_commits_count_from_the_last_sight_of_none(seen: list[Sample]) -> None:
    samples = [Sample(0.0, 0, 1.0), Sample(1.0, 0, 2.0), *seen, Sample(2.0, 1_000, 3.0)]
    taken = between_commits(samples, 1_000)
    assert (taken.events, taken.cpu_s) == (1_000, 1.0)


def test_one_core_is_shared_and_of_more_the_first_and_the_last_are_taken() -> None:
    alone, four = usage.split([2]), usage.split([4, 1, 3, 2])
    assert (alone.broker, alone.worker, alone.apart) == ({2}, {2}, False)
    assert (four.broker, four.worker, four.both, four.apart) == ({1}, {4}, {1, 4}, True)


@pytest.mark.skipif(not usage.readable(), reason="no /proc here")
def test_a_process_that_worked_shows_its_cpu_time_and_its_memory() -> None:
    code = "import time\nheld = b'x' * (64 << 20)\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.25 <= usage.cpu_s([process.pid]) < 5
        assert 64 << 20 < usage.peak_bytes([process.pid]) < 256 << 20
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_a_child_started_inside_runs_on_these_cores_and_we_are_free_again_after() -> None:
    before = os.sched_getaffinity(0)
    one = frozenset(sorted(before)[:1])
    ask = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]
    with usage.on(one):
        told = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(sorted(one))
    assert os.sched_getaffinity(0) == before
