"""contact: who is meant, before any server is asked."""

from __future__ import annotations

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


def test_an_address_needs_the_key_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STAGEPOST_IDENTITY__TENANT_KEY", raising=False)
    words = ["contact", "show", "--address", "-"]
    result = CliRunner().invoke(build(["contact"]), words, input="ann@example.com")
    assert "identity.tenant_key is not set" in str(result.exception)
