"""``stagepost config show``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagepost.cli.app import run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.toml").write_text('prefix = "acme."\n[identity]\ntenant_key = "0123456789abcdef"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STAGEPOST_ENGINE__BATCH", "7")
    return tmp_path


def test_values_are_shown_with_their_origin_and_secrets_masked(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["config", "show", "--origin", "--config", "mine.toml", "--redis", "redis://u:pw@h/0"])
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert "prefix                     'acme.'  (mine.toml)" in lines
    assert "identity.tenant_key        '**********'  (mine.toml)" in lines
    assert "engine.batch               7  (STAGEPOST_ENGINE__BATCH)" in lines
    assert "redis.url                  'redis://u:**********@h/0'  (flag)" in lines
    assert "engine.piece               500  (default)" in lines
    assert "" == output.err


def test_the_meaning_of_each_setting_is_said_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["config", "show", "--meaning", "--config", "mine.toml"])
    lines = capsys.readouterr().out.splitlines()
    shown = lines.index("engine.batch               7")
    assert "    Most records in one transaction." == lines[shown + 1]
    assert 0 == run(["config", "show", "--meaning", "--json", "--config", "mine.toml"])
    assert {"value": 7, "meaning": "Most records in one transaction."} == json.loads(capsys.readouterr().out)[
        "engine.batch"
    ]


def test_json_is_one_object_by_dotted_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["config", "show", "--json", "--config", "mine.toml"])
    plain = json.loads(capsys.readouterr().out)
    assert ("acme.", 7, []) == (plain["prefix"], plain["engine.batch"], plain["notify.receivers"])
    assert 0 == run(["config", "show", "--json", "--origin", "--config", "mine.toml"])
    assert {"value": "acme.", "origin": "mine.toml"} == json.loads(capsys.readouterr().out)["prefix"]
