"""The first signal asks, the second does not wait; seen from outside, on real processes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from stagepost.edges.signals import stopping

LOOP = """
import sys, time
from stagepost.edges.signals import stopping

stubborn = sys.argv[1] == "stubborn"
asked = []
with stopping(lambda: asked.append(1), lambda: print("now", flush=True)):
    print("up", flush=True)
    while stubborn or not asked:
        time.sleep(0.01)
        if asked and len(asked) == 1:
            asked.append(2)
            print("asked", flush=True)
print("finished")
"""


def start(kind: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", LOOP, kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "up\n" == process.stdout.readline()
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_the_work_end_in_order(number: int) -> None:
    process = start("willing")
    process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert (0, "finished") == (process.returncode, output.splitlines()[-1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_the_process_at_once(number: int) -> None:
    process = start("stubborn")
    assert process.stdout is not None
    process.send_signal(number)
    assert "asked\n" == process.stdout.readline()
    process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert (128 + number, "now\n") == (process.returncode, output)


def test_the_handlers_of_before_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopping(lambda: None):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
