"""Failpoints act once, at the named step, the named time."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from stagepost.edges.failpoints import ACTIONS, NAMES, FailpointError, failpoint_of


def test_the_nth_time_is_the_only_one_that_counts() -> None:
    at = failpoint_of("committed:raise:2", 0)
    at("committed")
    at("applied")
    with pytest.raises(FailpointError, match="committed"):
        at("committed")
    at("committed")


def test_several_steps_may_be_named_and_a_delay_takes_its_time() -> None:
    at = failpoint_of("applied:raise,in_revoke:delay", 0.05)
    began = time.monotonic()
    at("in_revoke")
    assert time.monotonic() - began >= 0.05
    with pytest.raises(FailpointError):
        at("applied")


def test_kill_ends_the_process_at_once_and_says_where() -> None:
    code = (
        "from stagepost.edges.failpoints import failpoint_of as f; f('before_end:kill', 0)('before_end'); print('on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (-9, b"", b"failpoint before_end:kill\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "text", ["nowhere:kill", "committed", "committed:kill:x", "committed:kill:-1", "end_sent:kill"]
)
def test_what_names_no_step_or_action_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME:ACTION"):
        failpoint_of(text, 0)


def test_every_step_takes_every_action() -> None:
    for name in NAMES:
        for action in ACTIONS:
            failpoint_of(f"{name}:{action}:3", 0)(name)
