"""simulate: transitions, funnels, two definitions side by side, and what becomes of bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import zstandard
from typer.testing import CliRunner, Result

from stagepost.cli.app import build

GOOD = "journey: j\nstages:\n  - one: contact.subscribed\n  - two: {clicked: any}\n"
OLD = "journey: j\nstages:\n  - one: contact.subscribed\n  - gone: email.opened\n"
BROKEN = "journey: b\nstages:\n  - one: {clicked: pricng}\n"
EVENTS = [
    {"id": "1", "type": "contact.subscribed", "occurred_at": "2026-03-01T10:00:00Z", "contact": "c1"},
    {"id": "2", "type": "email.clicked", "occurred_at": "2026-03-02T10:00:00Z", "contact": "c1", "machine": False},
]


def run(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(build(words), words, input=stdin)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path


def lines(events: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def test_simulate_prints_transitions_as_json_lines(folder: Path) -> None:
    result = run("simulate", str(folder / "good.yaml"), "--events", "-", "--json", stdin=lines(EVENTS))
    moves = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [(m["from"], m["to"], m["kind"]) for m in moves] == [(None, "one", "enter"), ("one", "two", "advance")]


def test_simulate_reads_files_and_compressed_files_alike(folder: Path) -> None:
    plain, packed = folder / "e.ndjson", folder / "e.ndjson.zst"
    plain.write_bytes(lines(EVENTS))
    packed.write_bytes(zstandard.compress(lines(EVENTS)))
    results = [run("simulate", str(folder / "good.yaml"), "--events", str(p), "--json").stdout for p in (plain, packed)]
    assert results[0] == results[1] != ""


def test_a_bad_line_is_told_with_its_number_and_skipped_with_exit_code_3(folder: Path) -> None:
    stdin = lines(EVENTS[:1]) + b"{cut\n\n" + lines(EVENTS[1:])
    result = run("simulate", str(folder / "good.yaml"), "--events", "-", "--json", stdin=stdin)
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 2
    assert "line 2: undecodable" in result.stderr


def test_simulate_of_a_broken_journey_says_what_validate_says_and_moves_nobody(folder: Path) -> None:
    (folder / "b.yaml").write_text(BROKEN)
    result = run("simulate", str(folder / "b.yaml"), "--events", "-", stdin=lines(EVENTS))
    assert (result.exit_code, result.stdout, "SP201" in result.stderr) == (1, "", True)


def test_simulate_for_people_shows_funnel_and_moves(folder: Path) -> None:
    result = run("simulate", str(folder / "good.yaml"), "--events", "-", stdin=lines(EVENTS))
    assert "reached" in result.stdout
    assert "2026-03-02T10:00:00.000Z  c1  one -> two  (stages.two)  email.clicked 2" in result.stdout.splitlines()


def test_simulate_names_no_event_for_what_a_timer_did(folder: Path) -> None:
    (folder / "good.yaml").write_text(GOOD + "exits:\n  - late: {after: 1h}\n")
    result = run("simulate", str(folder / "good.yaml"), "--events", "-", stdin=lines(EVENTS))
    assert "2026-03-01T11:00:00.000Z  c1  one -> late  (exits.late)" in result.stdout.splitlines()


def test_the_event_that_help_shows_is_one(folder: Path) -> None:
    shown = re.search(r'\{"id.*?\}', " ".join(run("simulate", "--help").stdout.split()))
    assert shown is not None
    result = run("simulate", str(folder / "good.yaml"), "--events", "-", "--json", stdin=shown[0].encode())
    assert (0, "one") == (result.exit_code, json.loads(result.stdout)["to"])


def test_an_event_of_the_future_is_named_with_its_line_and_blamed_for_what_came_late_behind_it(folder: Path) -> None:
    early = {**EVENTS[0], "id": "early", "occurred_at": "2026-02-20T10:00:00Z", "contact": "x"}
    future = {**EVENTS[0], "id": "typo", "occurred_at": "2099-03-01T10:00:00Z", "contact": "y"}
    later = [{**EVENTS[1], "id": f"l{n}"} for n in range(2)]
    feed = lines([EVENTS[0], early, future, *later])
    said = run("simulate", str(folder / "good.yaml"), "--events", "-", stdin=feed).stderr.splitlines()
    assert said[0].startswith("1 event of the future moved the clock there; from more than 24 h ahead of now a worker")
    assert said[0].endswith("The first is line 3, 'typo' of 2099-03-01T10:00:00Z")
    assert said[1].startswith("3 events came late")
    assert said[2].startswith("  2 of them, 'l0' of 2026-03-02T10:00:00Z first, behind 'typo' of 2099-03-01T10:00:00Z")


def test_a_stall_reads_as_a_stall(folder: Path) -> None:
    (folder / "good.yaml").write_text(
        GOOD.replace("contact.subscribed", "{when: contact.subscribed, stalls_after: 12h}")
    )
    shown = run("simulate", str(folder / "good.yaml"), "--events", "-", stdin=lines(EVENTS)).stdout.splitlines()
    assert "2026-03-01T22:00:00.000Z  c1  stall in one  (stages.one)" in shown


@pytest.mark.parametrize(("until", "idle"), [("2026-03-01T12:00:00Z", True), ("2026-03-02T10:00:00Z", False)])
def test_an_end_before_the_newest_event_is_said_to_change_nothing(folder: Path, until: str, idle: bool) -> None:
    result = run("simulate", str(folder / "good.yaml"), "--events", "-", "--until", until, stdin=lines(EVENTS))
    said = "--until is before the newest event, of 2026-03-02T10:00:00.000Z, so it changes nothing"
    assert (0, idle) == (result.exit_code, said in result.stderr.splitlines())


def test_until_must_be_a_time(folder: Path) -> None:
    result = run("simulate", str(folder / "good.yaml"), "--events", "-", "--until", "soon", stdin=b"")
    assert result.exit_code == 2


def against(folder: Path, *more: str) -> Result:
    (folder / "old.yml").write_text(OLD)
    new = str(folder / "good.yaml")
    return run("simulate", new, "--against", str(folder / "old.yml"), "--events", "-", *more, stdin=lines(EVENTS))


def test_against_shows_both_funnels_side_by_side_and_who_stands_elsewhere(folder: Path) -> None:
    result = against(folder)
    assert 0 == result.exit_code
    table = [line.split() for line in result.stdout.splitlines() if line.startswith(("│ ", "┃ "))]
    assert [
        ["┃", "place", "┃", "now,", "old", "┃", "now,", "new", "┃", "reached,", "old", "┃", "reached,", "new", "┃"],
        ["│", "one", "│", "1", "│", "0", "│", "1", "│", "1", "│"],
        ["│", "two", "│", "-", "│", "1", "│", "-", "│", "1", "│"],
        ["│", "gone", "│", "0", "│", "-", "│", "0", "│", "-", "│"],
    ] == table
    assert ["elsewhere: 1 of 1 contact", "  one -> two  1"] == result.stdout.splitlines()[-2:]


def test_against_as_json_is_one_object(folder: Path) -> None:
    (one,) = json.loads(against(folder, "--json").stdout)["journeys"]
    assert ("j", 1, [{"old": "one", "new": "two", "contacts": 1}]) == (
        one["journey"],
        one["contacts"],
        one["elsewhere"],
    )
    assert ["one", "two", "gone"] == [row["place"] for row in one["places"]]
    assert {"place": "two", "old": None, "new": {"kind": "stage", "now": 1, "reached": 1}} == one["places"][1]
    assert one["old"]["version"] != one["new"]["version"]


def test_journeys_of_two_folders_are_compared_by_name(folder: Path) -> None:
    before, after = folder / "before", folder / "after"
    for side, names in ((before, "ab"), (after, "bc")):
        side.mkdir()
        for name in names:
            (side / f"{name}.yaml").write_text(GOOD.replace("journey: j", f"journey: {name}"))
    result = run("simulate", str(after), "--against", str(before), "--events", "-", "--json", stdin=lines(EVENTS))
    compared = json.loads(result.stdout)["journeys"]
    assert [("b", True, True), ("c", False, True), ("a", True, False)] == [
        (one["journey"], one["old"] is not None, one["new"] is not None) for one in compared
    ]
    assert [[], [(None, "two")], [("two", None)]] == [
        [(group["old"], group["new"]) for group in one["elsewhere"]] for one in compared
    ]


def test_a_broken_older_file_is_told(folder: Path) -> None:
    (folder / "b.txt").write_text(BROKEN)
    result = run(
        *("simulate", str(folder / "good.yaml"), "--against", str(folder / "b.txt"), "--events", "-"),
        stdin=lines(EVENTS),
    )
    assert (1, "", True) == (result.exit_code, result.stdout, "SP201" in result.stderr)


def test_a_file_that_is_not_there_is_a_usage_error(folder: Path) -> None:
    assert 2 == run("simulate", str(folder / "good.yaml"), "--events", str(folder / "none")).exit_code


@pytest.mark.parametrize("words", [(), ("--json",), ("--against", "good.yaml")])
def test_events_that_came_too_late_to_move_anybody_are_told(
    folder: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    feed = lines(
        [EVENTS[0], {**EVENTS[0], "id": "3", "occurred_at": "2026-03-05T10:00:00Z", "contact": "x"}, EVENTS[1]]
    )
    late = run("simulate", "good.yaml", "--events", "-", *words, stdin=feed)
    assert late.exit_code == 0
    first, behind, _ = late.stderr.splitlines()
    assert first.startswith("1 event came late, more than 1d behind the clock")
    assert behind.startswith("  1 of them, '2' of 2026-03-02T10:00:00Z first, behind '3' of 2026-03-05T10:00:00Z,")
    in_order = run("simulate", "good.yaml", "--events", "-", *words, stdin=lines(EVENTS))
    assert "came late" not in in_order.stderr


@pytest.mark.parametrize("words", [(), ("--json",), ("--against", "good.yaml"), ("--against", "good.yaml", "--json")])
def test_what_became_of_the_events_is_told_last_on_standard_error(
    folder: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    more = [
        EVENTS[0],
        {**EVENTS[0], "id": "3", "test": True},
        {**EVENTS[0], "id": "4", "contact": "x", "type": "contact.erased"},
        {**EVENTS[0], "id": "5", "contact": "x"},
        {**EVENTS[0], "id": "6", "contact": "y", "occurred_at": "2026-02-01T10:00:00Z"},
    ]
    result = run("simulate", "good.yaml", "--events", "-", *words, stdin=lines([*EVENTS, *more]))
    told = "7 events read: 3 applied, 1 late, 1 duplicate, 1 suppressed, 1 test; 2 moves"
    assert told == result.stderr.splitlines()[-1]
    quiet = run("simulate", "good.yaml", "--events", "-", *words, "-q", stdin=lines(EVENTS))
    assert quiet.stderr == ""


def test_events_may_come_from_what_is_no_regular_file(folder: Path) -> None:
    assert run("simulate", str(folder / "good.yaml"), "--events", "/dev/null", "--json").exit_code == 0
    missing = run("simulate", str(folder / "good.yaml"), "--events", str(folder), "--json")
    assert (missing.exit_code, "a folder" in missing.stderr) == (2, True)
