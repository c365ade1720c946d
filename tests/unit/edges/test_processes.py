"""Children never outlive their owner, and what ends is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stagepost.edges.processes import Command, ProcessGroup, Supervisor, role_command

SLEEP = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)")


def exits(code: int) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", f"raise SystemExit({code})")


def eventually(condition, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_closing_the_group_ends_children_and_removes_the_folder() -> None:
    with ProcessGroup() as group:
        child = group.start("sleeper", SLEEP)
        (group.folder / "left").write_text("x")
        assert child.poll() is None
    assert -signal.SIGTERM == child.poll()
    assert not group.folder.exists()


def test_a_killed_owner_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(
        "import sys, time\n"
        "from stagepost.edges.processes import ProcessGroup\n"
        "group = ProcessGroup(grace_s=0.5)\n"
        # One that ignores SIGTERM, and has a child of its own.
        "code = 'import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);' \\\n"
        '       \'p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]);\' \\\n'
        "       'open(sys.argv[1], \"w\").write(str(p.pid)); time.sleep(60)'\n"
        "child = group.start('stubborn', [sys.executable, '-c', code, str(group.folder / 'grandchild')])\n"
        "print(child.pid, group.folder, flush=True)\n"
        "time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().split()
    note = Path(folder) / "grandchild"
    assert eventually(lambda: note.exists() and note.read_text() != "")
    grandchild = int(note.read_text())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert eventually(lambda: gone(int(pid)) and gone(grandchild) and not Path(folder).exists())


def test_the_log_file_takes_both_outputs_and_its_tail_can_be_read() -> None:
    code = "import sys; print('one'); print('two', file=sys.stderr)"
    with ProcessGroup() as group:
        child = group.start("talker", [sys.executable, "-I", "-S", "-u", "-c", code], log=group.folder / "log")
        assert child.wait(10) == 0
        assert child.tail() == "one\ntwo"
        assert child.tail(1) == "two"


def test_the_environment_given_is_added_to_our_own() -> None:
    code = "import os; print(os.environ['STAGEPOST_X'], 'PATH' in os.environ)"
    with ProcessGroup() as group:
        child = group.start("env", [sys.executable, "-c", code], {"STAGEPOST_X": "7"}, group.folder / "log")
        assert child.wait(10) == 0
        assert child.tail() == "7 True"


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    with ProcessGroup() as group:
        child = group.start("stubborn", [sys.executable, "-c", code], log=group.folder / "log")
        assert eventually(lambda: child.tail() == "up")
        assert child.stop(0.2) == -signal.SIGKILL


def run_until(supervisor: Supervisor, condition) -> list[tuple[str, int, float | None]]:
    seen: list[tuple[str, int, float | None]] = []

    def step() -> bool:
        seen.extend((exit.name, exit.code, exit.restart_in_s) for exit in supervisor.check())
        return bool(condition())

    assert eventually(step)
    return seen


def test_a_failed_child_is_started_again_until_its_pauses_are_used_up() -> None:
    with ProcessGroup() as group:
        supervisor = Supervisor(group, [Command("bad", exits(1))], pauses_s=(0.01, 0.02))
        supervisor.start()
        seen = run_until(supervisor, lambda: supervisor.down)
        assert seen == [("bad", 1, 0.01), ("bad", 1, 0.02), ("bad", 1, None)]
        assert supervisor.down == {"bad": 1}


@pytest.mark.parametrize("code", [0, 2])
def test_a_regular_end_and_wrong_settings_are_final(code: int) -> None:
    with ProcessGroup() as group:
        supervisor = Supervisor(group, [Command("done", exits(code))])
        supervisor.start()
        assert run_until(supervisor, lambda: supervisor.down) == [("done", code, None)]


def test_a_killed_child_comes_back_as_another_process() -> None:
    with ProcessGroup() as group:
        supervisor = Supervisor(group, [Command("role", SLEEP)], pauses_s=(0.01,))
        supervisor.start()
        first = supervisor.running["role"].pid
        os.kill(first, signal.SIGKILL)
        run_until(supervisor, lambda: "role" in supervisor.running and supervisor.running["role"].pid != first)
        assert supervisor.stop(5) == {"role": -signal.SIGTERM}


def test_roles_run_as_modules_of_this_interpreter() -> None:
    assert role_command("journey", "--port", "0") == (
        sys.executable, "-m", "stagepost", "run", "journey", "--port", "0",
    )  # fmt: skip
