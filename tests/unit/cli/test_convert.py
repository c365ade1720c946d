"""convert: events on standard output, reasons on standard error, exit codes of providers.md 6."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from typer.testing import CliRunner, Result

from stagepost.cli.app import build

CLICK = {
    "RecordType": "Click",
    "MessageID": "m-1",
    "Recipient": "ann@example.com",
    "ReceivedAt": "2026-11-02T09:14:00Z",
    "OriginalLink": "https://example.com/",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file of this machine takes part."""
    monkeypatch.chdir(tmp_path)


def run(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(build(("convert",)), ("convert", *words), input=stdin)


def body(*parts: object) -> bytes:
    return json.dumps(parts).encode()


SENDGRID = {"event": "open", "email": "ann@example.com", "timestamp": 1793610847, "contact_id": "c-1"}
AT = ("--received-at", "2026-11-02T10:00:00Z")


def test_one_event_a_line_with_the_fields_of_the_vocabulary() -> None:
    result = run("sendgrid", *AT, "--account", "news", stdin=body(SENDGRID, {**SENDGRID, "event": "click"}))
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.exit_code, result.stderr) == (0, "")
    assert [(e["type"], e["contact"], e["account"], e["raw"]) for e in events] == [
        ("email.opened", "c-1", "news", {"part": 0}),
        ("email.clicked", "c-1", "news", {"part": 1}),
    ]


def test_a_rejected_part_is_one_line_on_standard_error_and_exit_code_3() -> None:
    result = run("sendgrid", *AT, stdin=body(SENDGRID, 7))
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 1
    assert json.loads(result.stderr) == {"rejected": "schema", "detail": "not an object", "part": 1}


def test_a_body_rejected_whole_has_no_part() -> None:
    result = run("postmark", *AT, stdin=b"nope")
    assert result.exit_code == 3
    assert json.loads(result.stderr)["part"] is None


def test_nothing_to_print_is_no_failure() -> None:
    assert (run("sendgrid", stdin=b"[]").exit_code, run("postmark", stdin=b"").exit_code) == (0, 0)


def test_a_file_is_read_as_bytes(tmp_path: Path) -> None:
    file = tmp_path / "click.json"
    file.write_bytes(json.dumps(CLICK).encode())
    assert json.loads(run("postmark", str(file), *AT).stdout)["url"] == "https://example.com/"


def test_a_secret_must_fit_and_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("user:pass\n")
    given = json.dumps(CLICK).encode()
    header = ("--header", "Authorization=Basic dXNlcjpwYXNz")
    assert (
        json.loads(run("postmark", *AT, *header, "--secret", f"@{tmp_path}/key", stdin=given).stdout)["verified"]
        is True
    )
    refused = run("postmark", *AT, *header, "--secret", "user:other", stdin=given)
    assert (refused.exit_code, json.loads(refused.stderr)["rejected"]) == (3, "signature")
    assert json.loads(run("postmark", *AT, stdin=given).stdout)["verified"] is None


def test_without_a_secret_on_the_command_line_nothing_is_checked(tmp_path: Path) -> None:
    (tmp_path / "stagepost.toml").write_text('[accounts.news]\nsecrets = ["k"]\nsignature = "require"\n')
    result = run("sendgrid", *AT, "--account", "news", stdin=body(SENDGRID))
    assert json.loads(result.stdout)["verified"] is None


def test_an_account_of_the_settings_file_applies(tmp_path: Path) -> None:
    (tmp_path / "stagepost.toml").write_text('[accounts.news]\ncontact_keys = ["crm"]\n')
    result = run("sendgrid", *AT, "--account", "news", stdin=body({**SENDGRID, "crm": "k1"}))
    assert json.loads(result.stdout)["contact"] == "k1"


def test_the_limits_of_the_settings_file_apply(tmp_path: Path) -> None:
    (tmp_path / "stagepost.toml").write_text("limits.body_bytes = 1_048_576\nlimits.tags = 1\n")
    result = run("sendgrid", *AT, stdin=body({**SENDGRID, "category": ["a", "b"]}))
    assert json.loads(result.stdout)["tags"] == ["a"]
    assert json.loads(run("sendgrid", *AT, stdin=b" " * (1 << 20) + b"[]").stderr)["rejected"] == "oversize"


def test_a_form_post_is_told_by_its_content_type_or_by_itself() -> None:
    events = json.dumps([{"event": "send", "_id": "m", "ts": 1793610847, "msg": {"email": "ann@example.com"}}])
    form = urlencode({"mandrill_events": events}).encode()
    header = ("--header", "Content-Type=application/x-www-form-urlencoded")
    for words in (header, ()):
        assert json.loads(run("mandrill", *AT, *words, stdin=form).stdout)["type"] == "email.sent"


def test_one_event_per_line_comes_of_firehose() -> None:
    event = {"eventType": "Send", "mail": {"timestamp": "2026-11-02T09:14:07Z", "destination": ["ann@example.com"]}}
    lines = (json.dumps(event) + "\n").encode() * 2
    result = run("amazon_ses", *AT, stdin=lines)
    assert [json.loads(line)["raw"] for line in result.stdout.splitlines()] == [{"part": 0}, {"part": 1}]


@pytest.mark.parametrize(
    "words",
    [
        ("pigeon",),
        ("sendgrid", "no-such-file.json"),
        ("sendgrid", "--header", "novalue"),
        ("sendgrid", "--received-at", "yesterday"),
        ("sendgrid", "--secret", "@no-such-file"),
        ("sendgrid", "--secret", "not base64"),
        ("postmark", "--secret", ""),
        ("postmark", "--account", "\udcff"),
        ("mandrill", "--secret", "key"),
    ],
)
def test_usage_errors_exit_with_2(words: tuple[str, ...]) -> None:
    assert run(*words, stdin=b"[]").exit_code == 2
