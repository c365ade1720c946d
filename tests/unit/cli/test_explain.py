"""explain over an event file: the story, what is due, what is missing, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stagepost.cli.app import build

JOURNEY = """journey: path
stages:
  - joined: contact.subscribed
  - reader: {clicked: any, times: 2}
  - buyer: order.completed
exits:
  - over: {after: 90d}
"""
EVENTS = [
    ("contact.subscribed", "a", {}),
    ("email.clicked", "a", {"url": "https://example.com/x?token=secret", "campaign": "n-1"}),
    ("email.clicked", "a", {"url": "https://example.com/y"}),
    ("page.seen", "b", {}),
    ("contact.erased", "gone", {}),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "path.yaml").write_text(JOURNEY)
    lines = [
        {"id": f"e{n}", "type": type_, "occurred_at": f"2026-03-0{n + 1}T10:00:00Z", "contact": contact, **more}
        for n, (type_, contact, more) in enumerate(EVENTS)
    ]
    (tmp_path / "events.ndjson").write_text("\n".join(json.dumps({"machine": False, **line}) for line in lines))
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    files = ("--events", str(folder / "events.ndjson"), "--journeys", str(folder / "path.yaml"))
    return CliRunner().invoke(build(["explain"]), ["explain", *words, *files])


def test_it_says_what_moved_the_contact_what_is_due_and_what_is_missing(folder: Path) -> None:
    result = run(folder, "a")
    assert result.exit_code == 0
    clock, first, *rest = result.stdout.splitlines()
    assert clock == "as of 2026-03-05T10:00:00.000Z"
    assert first.startswith("a in path (version ")
    assert first.endswith("): reader, since 2026-03-03T10:00:00.000Z")
    assert rest == [
        "  why",
        "    2026-03-01T10:00:00.000Z  none -> joined  (stages.joined, line 3)  contact.subscribed",
        "    2026-03-03T10:00:00.000Z  joined -> reader  (stages.reader, line 4)  email.clicked https://example.com/y",
        "  due next",
        "    2026-05-30T10:00:00.000Z  after  (exits.over, line 7)",
        "  missing",
        "    buyer  (stages.buyer, line 5)",
        "      order.completed: not yet",
        "events",
        "  2026-03-01T10:00:00.000Z  contact.subscribed    => path: none -> joined",
        "  2026-03-02T10:00:00.000Z  email.clicked  n-1 https://example.com/x",
        "  2026-03-03T10:00:00.000Z  email.clicked  https://example.com/y  => path: joined -> reader",
    ]


def test_json_says_the_same_in_one_object(folder: Path) -> None:
    found = json.loads(run(folder, "a", "--json").stdout)
    (path,) = found["journeys"]
    assert [(m["to"], m["rule"], m["line"], m["cause"]["id"]) for m in path["why"]] == [
        ("joined", "stages.joined", 3, "e0"),
        ("reader", "stages.reader", 4, "e2"),
    ]
    assert path["next"] == [{"due": "2026-05-30T10:00:00.000Z", "timer": "after", "rule": "exits.over", "line": 7}]
    assert path["missing"] == [
        {
            "to": "buyer",
            "rule": "stages.buyer",
            "line": 5,
            "missing": [{"condition": "order.completed", "have": "not yet", "parts": [], "near": None}],
        }
    ]
    assert [event["moved"] for event in found["events"]] == [["path: none -> joined"], [], ["path: joined -> reader"]]
    assert "secret" not in json.dumps(found)


def test_a_contact_without_a_run_is_known_and_an_erased_one_says_so(folder: Path) -> None:
    assert run(folder, "b").stdout.splitlines()[1].endswith("): in no run")
    gone = run(folder, "gone")
    assert (gone.exit_code, gone.stdout) == (0, "gone: erased at 2026-03-05T10:00:00.000Z; later events are refused\n")


def add(folder: Path, *events: dict[str, object]) -> None:
    with (folder / "events.ndjson").open("a") as file:
        file.writelines("\n" + json.dumps(event) for event in events)


def test_a_duplicate_is_marked_as_one_that_moved_nobody(folder: Path) -> None:
    first = json.loads((folder / "events.ndjson").read_text().splitlines()[0])
    add(folder, first)
    shown = run(folder, "a").stdout.splitlines()
    assert shown[-1] == "  2026-03-01T10:00:00.000Z  contact.subscribed    (duplicate)"
    found = json.loads(run(folder, "a", "--json").stdout)["events"]
    assert [(event["id"], event["outcome"], event["moved"]) for event in (found[0], found[-1])] == [
        ("e0", "applied", ["path: none -> joined"]),
        ("e0", "duplicate", []),
    ]


def test_a_click_that_waits_for_its_verdict_is_named_where_it_is_missed_and_where_it_is_due(folder: Path) -> None:
    about = {"contact": "a", "campaign": "n-1", "message": "m"}
    click = {"url": "https://example.com/z", "machine": None, "occurred_at": "2026-03-08T10:01:00Z"}
    (folder / "path.yaml").write_text(JOURNEY.replace("times: 2", "times: 3"))
    add(
        folder,
        {"id": "d", "type": "email.delivered", "occurred_at": "2026-03-08T10:00:00Z", **about},
        {"id": "k", "type": "email.clicked", **about, **click},
    )
    shown = run(folder, "a").stdout.splitlines()
    assert "    2026-03-08T10:01:10.000Z  verdict whether a person made the held click  (bots)" in shown
    waits = "the click of 2026-03-08T10:01:00.000Z waits until 2026-03-08T10:01:10.000Z for the verdict"
    assert f"      clicked any, 3 times: 2 of 3; {waits} whether a person made it" in shown


def test_a_click_that_is_judged_a_machines_says_so_where_it_is_missed_and_where_it_is_listed(folder: Path) -> None:
    about = {"contact": "a", "campaign": "n-1", "message": "m"}
    (folder / "path.yaml").write_text(JOURNEY.replace("times: 2", "times: 3"))
    scanned = [
        {"id": f"k{n}", "type": "email.clicked", "occurred_at": f"2026-03-08T10:02:0{n}Z", "machine": None, **about}
        for n in range(3)
    ]
    add(
        folder,
        {"id": "d", "type": "email.delivered", "occurred_at": "2026-03-08T10:00:00Z", **about},
        {"id": "i", "type": "email.clicked", "occurred_at": "2026-03-08T10:00:01Z", "url": "https://e.com", **about},
        *({"url": f"https://example.com/{click['id']}", **click} for click in scanned),
        {"id": "m", "type": "email.clicked", "occurred_at": "2026-03-08T10:03:00Z", "machine": True, "contact": "a"},
    )
    shown = run(folder, "a").stdout.splitlines()
    burst = "is judged a machine's: 3 links of its message within 10s"
    assert "        nearest: 2026-03-08T10:03:00.000Z  email.clicked: a machine made it" in shown
    instant = "is judged a machine's: within 2s after its delivery"
    assert f"  2026-03-08T10:00:01.000Z  email.clicked  n-1 https://e.com  ({instant})" in shown
    assert [line.rpartition("  (")[2] for line in shown[-4:]] == [f"{burst})"] * 3 + ["a machine made it)"]
    last = json.loads(run(folder, "a", "--json").stdout)["events"][-2]
    assert (last["machine"], last["judged"]) == (None, {"path": {"kind": "machine", "why": burst}})


def test_journeys_that_judge_a_click_otherwise_are_named(folder: Path) -> None:
    tame = folder / "tame.yaml"
    tame.write_text(JOURNEY.replace("journey: path", "journey: tame\nbots: off"))
    click = {"id": "i", "type": "email.clicked", "occurred_at": "2026-03-08T10:00:01Z", "contact": "a", "message": "m"}
    add(
        folder,
        {"id": "d", "type": "email.delivered", "occurred_at": "2026-03-08T10:00:00Z", "contact": "a", "message": "m"},
        click,
    )
    files = ("--events", str(folder / "events.ndjson"), "--journeys", str(folder))
    shown = CliRunner().invoke(build(["explain"]), ["explain", "a", *files]).stdout.splitlines()
    assert shown[-1].endswith("  (in path it is judged a machine's: within 2s after its delivery)")


def test_an_exit_is_told_with_its_rule_and_event_and_what_lets_the_contact_in_again(folder: Path) -> None:
    out = "  - left: email.complained\nreenter: {after: 9d}\n"
    (folder / "path.yaml").write_text(JOURNEY + out)
    add(folder, {"id": "k", "type": "email.complained", "occurred_at": "2026-03-08T10:00:00Z", "contact": "a"})
    shown = run(folder, "a").stdout.splitlines()
    assert shown[1].endswith(": left by left, since 2026-03-08T10:00:00.000Z")
    assert shown[5:9] == [
        "    2026-03-08T10:00:00.000Z  reader -> left  (exits.left, line 8)  email.complained",
        "  another run may begin from 2026-03-17T10:00:00.000Z on (reenter: after 9d)",
        "  missing for another run",
        "    joined  (stages.joined, line 3)",
    ]


def test_an_event_that_came_late_is_marked_and_what_it_left_is_told(folder: Path) -> None:
    late = {"id": "l", "type": "order.completed", "occurred_at": "2026-03-03T11:00:00Z", "contact": "a"}
    add(folder, late)
    result = run(folder, "a")
    assert "  2026-03-03T11:00:00.000Z  order.completed    (late)" in result.stdout.splitlines()
    assert "its condition holds; the next event or timer that it names moves the contact there" in result.stdout
    assert "1 event came late" in result.stderr


def test_an_unknown_contact_or_journey_ends_with_1(folder: Path) -> None:
    assert run(folder, "nobody").exit_code == 1
    assert run(folder, "a", "--journey", "other").exit_code == 1
    assert run(folder, "a", "--journey", "path").exit_code == 0


def test_history_is_for_what_lies_on_servers(folder: Path) -> None:
    assert run(folder, "a", "--history").exit_code == 2


NEARING = """journey: path
links: {pricing: example.com/pricing/**}
stages:
  - joined: contact.subscribed
  - keen: {clicked: pricing}
setbacks:
  - cold: {no_click: {sends: 3, grace: 2d}}
recover: {clicked: any}
"""


def test_it_says_which_setback_comes_nearer_and_what_did_not_count(folder: Path) -> None:
    (folder / "path.yaml").write_text(NEARING)
    sent = {
        "id": "s",
        "type": "email.delivered",
        "occurred_at": "2026-03-07T10:00:00Z",
        "campaign": "n",
        "contact": "a",
    }
    with (folder / "events.ndjson").open("a") as events:
        events.write("\n" + json.dumps(sent))
    lines = run(folder, "a").stdout.splitlines()
    so_far = "1 of 3 sends without a click since 2026-03-03T10:00:00.000Z"
    assert lines[lines.index("  approaching") : lines.index("events")] == [
        "  approaching",
        "    cold  (setbacks.cold, line 7)",
        f"      no click in 3 sends, 2d grace: {so_far}, the third makes it cold 2d later",
        "  missing",
        "    keen  (stages.keen, line 5)",
        "      clicked pricing: not yet",
        "        nearest: 2026-03-03T10:00:00.000Z  email.clicked https://example.com/y: "
        "its URL is under none of the links (pricing example.com/pricing/**)",
    ]
    (path,) = json.loads(run(folder, "a", "--json").stdout)["journeys"]
    (setback,) = path["approaching"]
    assert (setback["to"], setback["rule"], setback["line"]) == ("cold", "setbacks.cold", 7)
    assert setback["missing"][0]["have"] == f"{so_far}, the third makes it cold 2d later"
    assert path["missing"][0]["missing"][0]["near"] == {
        "at": "2026-03-03T10:00:00.000Z",
        "type": "email.clicked",
        "campaign": None,
        "url": "https://example.com/y",
        "why": "its URL is under none of the links",
        "tried": ["pricing example.com/pricing/**"],
    }


def test_lines_that_were_skipped_end_with_3(folder: Path) -> None:
    with (folder / "events.ndjson").open("a") as events:
        events.write("\nno event")
    result = run(folder, "a")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (3, "1 line skipped")


LINKED = """journey: path
links:
  plans: {url: example.com/x, means: intent}
  blog: example.com/y
stages:
  - joined: contact.subscribed
  - keen: {clicked: plans}
"""


def test_a_click_is_labelled_with_the_links_that_it_is_under_and_what_they_mean(folder: Path) -> None:
    (folder / "path.yaml").write_text(LINKED)
    shown = run(folder, "a").stdout
    assert "  email.clicked n-1 https://example.com/x  [plans: intent]\n" in shown
    assert "  email.clicked  https://example.com/y  [blog]\n" in shown
    found = json.loads(run(folder, "a", "--json").stdout)
    assert found["journeys"][0]["why"][1]["cause"]["links"] == [{"link": "plans", "means": "intent"}]
    assert [event["links"] for event in found["events"]] == [
        [],
        [{"journey": "path", "link": "plans", "means": "intent"}],
        [{"journey": "path", "link": "blog", "means": None}],
    ]
