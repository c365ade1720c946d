"""contact: who is meant, before any server is asked."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stagepost.cli.app import build


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        ((), "", "either CONTACT or --address -"),
        (("c-1", "--address", "-"), "ann@example.com", "either CONTACT or --address -"),
        (("--address", "ann@example.com"), "", "pipe the address in"),
        (("--address", "-"), "no address", "no e-mail address on standard input"),
        (("a\x00b",), "", "holds a NUL"),
    ],
)
def test_whoever_is_not_named_clearly_is_asked_for_again(words: tuple[str, ...], stdin: str, said: str) -> None:
    result = CliRunner().invoke(build(["contact"]), ["contact", "forget", *words], input=stdin)
    assert (2, "") == (result.exit_code, result.stdout)
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_on_a_terminal_it_asks_before_it_erases(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    words = [sys.executable, "-m", "stagepost", "contact", "forget", "c-1", "--kafka", "localhost:1"]
    run = subprocess.run(words, stdin=theirs, capture_output=True, text=True, timeout=30, cwd=tmp_path)
    os.close(ours)
    os.close(theirs)
    assert (1, "") == (run.returncode, run.stdout.strip())
    assert "Erase c-1 for good (no prefix on localhost:1)? [y/N]:" in run.stderr


def test_an_address_needs_the_key_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STAGEPOST_IDENTITY__TENANT_KEY", raising=False)
    words = ["contact", "show", "--address", "-"]
    result = CliRunner().invoke(build(["contact"]), words, input="ann@example.com")
    assert "identity.tenant_key is not set" in str(result.exception)
