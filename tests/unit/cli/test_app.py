"""The program: verbs, exit codes, and that help needs no heavy import."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from stagepost import __version__
from stagepost.cli import app


@pytest.mark.parametrize(("file", "verbs"), app.VERBS.items())
def test_each_file_registers_the_verbs_that_it_is_listed_with(file: str, verbs: tuple[str, ...]) -> None:
    alone = typer.Typer()
    alone.callback()(lambda: None)
    importlib.import_module(f"stagepost.cli.{file}").add_to(alone)
    assert list(verbs) == list(typer.main.get_group(alone).commands)


def test_no_verb_is_listed_twice() -> None:
    verbs = [verb for verbs in app.VERBS.values() for verb in verbs]
    assert sorted(set(verbs)) == sorted(verbs)


def test_the_version_is_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == app.run(["--version"])
    assert (f"stagepost {__version__}\n", "") == capsys.readouterr()


def test_help_lists_every_verb_and_every_verb_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == app.run(["--help"])
    shown = capsys.readouterr().out
    for verb in [verb for verbs in app.VERBS.values() for verb in verbs]:
        assert f"\n  {verb} " in shown
    without = []
    for words in _all_commands():
        assert 0 == app.run([*words, "--help"])
        if f"Example: stagepost {' '.join(words)}" not in " ".join(capsys.readouterr().out.split()):
            without.append(" ".join(words))
    assert [] == without


def test_help_cuts_no_verb_short(capsys: pytest.CaptureFixture[str]) -> None:
    for words in [[], *({words[0]: words[:-1] for words in _all_commands()}.values())]:
        assert 0 == app.run([*words, "--help"])
        assert not [
            line for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and line.endswith("...")
        ]


def test_the_line_of_usage_writes_each_argument_once_bracketed(capsys: pytest.CaptureFixture[str]) -> None:
    for words in _all_commands():
        app.run([*words, "--help"])
        usage = capsys.readouterr().out.splitlines()[0]
        assert not [part for part in ("[[", "...}", "...]") if part in usage], usage


def _all_commands() -> list[list[str]]:
    found = []
    for name, command in typer.main.get_group(app.build([])).commands.items():
        below = getattr(command, "commands", {})
        found += [[name, each] for each in below] or [[name]]
    return found


def _options_of(words: list[str]) -> dict[str, str]:
    """Name of each option of a verb, by every way to write it."""
    command: Any = typer.main.get_group(app.build([]))
    for word in words:
        command = command.commands[word]
    return {flag: parameter.name for parameter in command.params for flag in parameter.opts if flag.startswith("-")}


@pytest.mark.parametrize("words", _all_commands(), ids=" ".join)
def test_every_verb_has_the_common_options_and_every_one_with_settings_those_of_connections(words: list[str]) -> None:
    options = _options_of(words)
    assert {"--json", "-q", "--quiet", "-v", "--verbose"} <= set(options)
    connection = {"--kafka", "--redis", "--prefix"}
    if " ".join(words) in ("demo", "bench journey", "bench restore", "bench latency"):  # under a prefix of their own
        assert connection & set(options) == {"--kafka", "--redis"}
    elif "--config" in options:
        assert connection <= set(options)
    else:
        assert not connection & set(options)


def test_verbs_without_settings_are_those_that_read_files_alone() -> None:
    without = [" ".join(words) for words in _all_commands() if "--config" not in _options_of(words)]
    benches = [verb for verb in without if verb.startswith("bench ")]
    files = ["init", "validate", "explain-code", "test", "simulate", "graph", "schema"]
    assert sorted([*files, *benches]) == sorted(without)


def test_quiet_keeps_warnings_and_verbose_shows_where_an_error_comes_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "w.yaml").write_text("journey: w\nstages:\n  - one: {opened: any}\n")
    assert 0 == app.run(["validate", str(tmp_path), "-q"])
    output = capsys.readouterr()
    assert ("SP604" in output.out, output.err) == (True, "")
    assert 0 == app.run(["validate", str(tmp_path)])
    assert "1 file checked, 0 errors, 1 warning\n" == capsys.readouterr().err
    assert 2 == app.run(["config", "show", "--config", str(tmp_path / "none.toml"), "-q"])
    told = capsys.readouterr().err
    assert told.startswith("stagepost: ")
    assert 2 == app.run(["config", "show", "--config", str(tmp_path / "none.toml"), "-v"])
    assert capsys.readouterr().err.startswith("Traceback ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["config", "show", "--nonsense"], ["topics"], []])
def test_a_wrong_command_line_is_a_usage_error_on_standard_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == app.run(arguments)
    output = capsys.readouterr()
    assert "Usage: stagepost" in output.err + output.out


def test_wrong_settings_exit_with_two_and_say_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEPOST_PREFX", "x")
    assert 2 == app.run(["config", "show"])
    expected = "stagepost: STAGEPOST_PREFX is no setting (did you mean STAGEPOST_PREFIX?)\n"
    assert ("", expected) == capsys.readouterr()


def test_a_broker_that_does_not_answer_is_a_failure_with_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == app.run(["topics", "check", "--kafka", "127.0.0.1:1"])
    output = capsys.readouterr()
    assert "" == output.out
    assert output.err.startswith("stagepost: Kafka at 127.0.0.1:1 does not answer: ")
    assert "(setting kafka.bootstrap_servers, --kafka)" in output.err


def test_doctor_names_each_server_that_does_not_answer_and_what_it_waits_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert 1 == app.run(["doctor", "--kafka", "127.0.0.1:1", "--redis", "redis://:hidden@127.0.0.1:1/0"])
    output = capsys.readouterr()
    broker, server = output.out.splitlines()
    assert broker.split(maxsplit=2)[2].startswith("Kafka at 127.0.0.1:1 does not answer: ")
    assert server.split(maxsplit=2)[2].startswith("Redis at redis://:**********@127.0.0.1:1/0 does not answer: ")
    assert ["checking broker ...", "checking redis ...", "0 ok, 0 warnings, 2 failed"] == output.err.splitlines()


def test_help_imports_no_client_and_no_model() -> None:
    code = (
        "import sys; from stagepost.cli.app import run; code = run(['--help']);"
        "heavy = {'confluent_kafka', 'redis', 'faust', 'pydantic', 'structlog', 'fastapi', 'ruamel', 'rich'};"
        "print(sorted(heavy & set(sys.modules)), code, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert "[] 0\n" == run.stderr


@pytest.mark.parametrize("interrupted", ["stagepost.cli.app", "typer", "stagepost.cli.journeys", "stagepost.settings"])
def test_ctrl_c_ends_with_130_and_no_traceback_whatever_is_being_imported(interrupted: str) -> None:
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as in a terminal
        "import stagepost.__main__ as program\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {interrupted!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT); time.sleep(1)\n"
        "sys.meta_path.insert(0, Interrupts()); sys.argv = ['stagepost', 'validate']; program.main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (130, "") == (run.returncode, run.stderr.strip())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
def test_a_full_disk_is_told_without_a_traceback() -> None:
    with open("/dev/full", "wb") as full:
        run = subprocess.run(
            [sys.executable, "-m", "stagepost", "schema", "event"], stdout=full, stderr=subprocess.PIPE, timeout=30
        )
    said = b"stagepost: standard output: No space left on device; what was written is not whole\n"
    assert (1, said) == (run.returncode, run.stderr)


def test_the_package_runs_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "stagepost", "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    assert f"stagepost {__version__}\n" == run.stdout
