"""No input makes the journey language raise (journeys.md 6): files of any kind, and records of any kind on the wire.

What a file is wrong in has a code and a place inside the file; what validates compiles, and folds whatever comes.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from tests.properties.test_journey_laws import CAMPAIGNS, TYPES, URLS, programs
from tests.scenarios.story import START, Partition

import stagepost.journey
from stagepost.engine.intake import Incoming, read_event
from stagepost.events import DAY, LAST_TIME, MICROS, Event, Rejected, rfc3339
from stagepost.journey import definition as d
from stagepost.journey.compile import compile_program
from stagepost.journey.fold import Fold, TimerIndex
from stagepost.journey.parse import Parsed, parse_journey
from stagepost.journey.problems import CATALOGUE
from stagepost.journey.state import ContactState, next_due, pack, unpack

FILES = [path.read_text(encoding="utf-8") for path in Path(stagepost.journey.__file__).parent.glob("examples/*.yaml")]
EVERYTHING = """
journey: everything
title: All words once
sends: ["n-*", w]
labels: {team: crm}
links:
  pricing: {url: "example.com/pricing/**?a=1", means: intent}
  leave: {url: "*.example.com", means: disengagement}
stages:
  - one: {any: [email.delivered, {subscribed: any}, {quiet: {for: 3d, opens: true}}]}
  - two: {when: {clicked: [pricing, leave], times: 2, within: 7d, per: campaign, campaign: "n-*"}, stalls_after: 2d}
  - three: {all: [{opened: any}, {not: {unsubscribed: {scope: list, id: "a*"}}}, {subscribed: news}]}
  - four: {event: order.completed, where: {total: {gt: 0, le: 9.5}, plan: pro, a.b: {in: [1, x]}, c: {exists: true}}}
setbacks:
  - cool: {no_click: {sends: 2, grace: 2h, count: sent}, from: [one, two]}
  - missing: {missed: {first: {any: [x.y, {clicked: any}]}, then: order.completed, within: 5d}, until: {after: 1d}}
  - stuck_here: {stuck: 9d, until: never}
  - off: {unsubscribed: any, after_send: 24h, campaign: "n-*"}
recover: {clicked: any}
exits:
  - gone: {unsubscribed: all}
  - hard: {event: email.bounced, where: {class: hard, reason: {matches: "a+"}}}
  - old: {after: 180d}
enter: first
reenter: {after: 9d, never_after: [hard, consent_withdrawn]}
goal: {reach: three, within: 60d}
consent: {purpose: tracking, default: granted}
bots: {instant: 1s, burst: {urls: 2, within: 5s}, near: 1m, hold: 5s}
attribution: {window: 5d}
lateness: 2h
on_change: keep
tests:
  - name: t
    events: [0d sent n-1, "1d clicked https://example.com/pricing?a=1", 2d x.y k=1]
    expect: [0d none -> one, 3d stall two]
"""
DOCUMENTS = [YAML(typ="safe", pure=True).load(text) for text in [*FILES, EVERYTHING]]

SOME = settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


def lines_of(text: str) -> list[str]:
    """Lines as an editor counts them."""
    return re.split("\r\n|\n|\r", text)


def checked(text: str) -> Parsed:
    """Parse, and see that every problem is one that a person can find and mend."""
    parsed = parse_journey(text, "j.yaml")
    lines = lines_of(text)
    for problem in parsed.problems:
        assert CATALOGUE[problem.code.id] is problem.code
        assert 1 <= problem.position.line <= len(lines), problem
        assert 1 <= problem.position.column <= len(lines[problem.position.line - 1]) + 1, problem
        assert problem.message and "\n" not in problem.message
        str(problem).encode()
    assert (parsed.journey is None) == any(problem.is_error for problem in parsed.problems)
    return parsed


def fold(journey: d.Journey, events: list[tuple[Event, int]]) -> list[ContactState]:
    """The states that a stream leaves; each comes back from its stored form."""
    states: dict[str, ContactState | None] = {}
    timers = TimerIndex()
    run = Fold(compile_program([journey]), clock=0, state_of=states.get, timers=timers)
    for event, at in events:
        run.event(event, at)
    run.run_to(run.clock + 400 * DAY)
    kept = [state for state in run.changed.values() if state is not None]
    assert kept == [unpack(pack(state)) for state in kept]
    assert all((next_due(state) or 0) >= 0 for state in kept)
    return kept


ODD_DATA = {"total": 5, "plan": "pro", "a": {"b": [1], "c": None}, "a.b": {"x": 1}, "c": "", "reason": True}
A_FEW_EVENTS = [
    (Event(id=f"e{n}", type=type_, occurred_at="", contact="x", machine=None, **fields), START + n * DAY // 4)
    for n, (type_, fields) in enumerate(
        (type_, {"campaign": campaign, "message": f"m{campaign}", "url": url, "data": ODD_DATA})
        for type_ in [*dict.fromkeys(TYPES), "x.y", "a.b"]
        for campaign, url in zip(CAMPAIGNS, URLS, strict=False)
    )
]


# Files


@SOME
@given(
    st.text(st.characters(exclude_categories=()), max_size=60)
    | st.text("abj:-[]{}&*!|>%@`'\"#?,.~ \n\r\t0123456789_", max_size=120)
)
def test_any_text_is_read_or_has_problems_inside_it(text: str) -> None:
    checked(text)


ODD_PIECES = [*":-[]{}&*!|>'\"#,?%\t\x00\ufeff\u2028\u202e\x85é😀\r", "&a", "*a", "\\ud800", "- ", "? ", "!!int "]


@st.composite
def torn_files(draw: st.DrawFn) -> str:
    """A file that someone edited: lines gone, twice or in another place, characters put in between."""
    lines = draw(st.sampled_from([*FILES, EVERYTHING])).splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(lines) - 1)))
        other = draw(st.integers(0, max(0, len(lines) - 1)))
        edit = draw(st.sampled_from(["drop", "twice", "swap", "cut", "insert", "indent"]))
        if not lines:
            break
        if edit == "drop":
            del lines[place]
        elif edit == "twice":
            lines.insert(other, lines[place])
        elif edit == "swap":
            lines[place], lines[other] = lines[other], lines[place]
        elif edit == "cut":
            lines[place] = lines[place][: draw(st.integers(0, len(lines[place])))]
        elif edit == "insert":
            column = draw(st.integers(0, len(lines[place])))
            odd = draw(st.sampled_from(ODD_PIECES))
            lines[place] = lines[place][:column] + odd + lines[place][column:]
        else:
            lines[place] = " " * draw(st.integers(1, 4)) + lines[place]
    return "".join(lines)


@SOME
@given(torn_files())
def test_a_torn_file_is_read_or_has_problems_inside_it_and_folds_if_it_is_read(text: str) -> None:
    parsed = checked(text)
    if parsed.journey is not None:
        fold(parsed.journey, A_FEW_EVENTS)


ODD_TEXTS = [
    "",
    " ",
    "any",
    "all",
    "never",
    "off",
    "\u202e",
    "😀",
    "e\u0301",
    "\ud800",
    "\x00",
    "a" * 2_000,
    "3d",
    "0s",
    "99999999d",
    "a.b",
    "*",
    "**",
    "~",
    "yes",
    "(",
    "a{1000}{1000}",
]
ODD_VALUES = st.sampled_from(ODD_TEXTS) | st.sampled_from(
    [None, True, -1, 0, 7, 10**30, 1e308, -0.0, [], {}, [[]], {"a": {}}, [None], {"any": []}]
)
WORDS = sorted(set(re.findall("[a-z_]+", EVERYTHING)))


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values of a document."""
    found = [path]
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        found += places(value, (*path, key))
    return found


def flow(tree: Any) -> str:
    """YAML's flow style, a value a line; a mapping may hold a key twice, as a list of pairs marked ``Twice``."""
    if isinstance(tree, Twice):
        return "{" + ",\n".join(f"{json.dumps(str(key))}: {flow(value)}" for key, value in tree.pairs) + "}"
    if isinstance(tree, dict):
        return flow(Twice(list(tree.items())))
    if isinstance(tree, list):
        return "[" + ",\n".join(map(flow, tree)) + "]"
    return "1" + "0" * 5_000 if tree == 10**5_000 else json.dumps(tree)


def repr_of(value: Any) -> str:
    return ascii(value)[:20] if not isinstance(value, int) else f"int of {value.bit_length()} bits"


class Twice:
    """A mapping as it stands in a file."""

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        self.pairs = pairs


def copied(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


@st.composite
def broken_documents(draw: st.DrawFn) -> str:
    """A valid document in which some values became others."""
    document = copied(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(places(document)[1:] or [("journey",)]))
        holder = document
        for key in above:
            holder = holder[key]
        if isinstance(holder, Twice) or not isinstance(holder, dict | list):
            continue
        edit = draw(st.sampled_from(["drop", "other", "word", "nest", "twice", "rename", "many", "wrap"]))
        if edit == "drop":
            del holder[last]
        elif edit == "other":
            holder[last] = draw(ODD_VALUES)
        elif edit == "word":
            holder[last] = draw(st.sampled_from(WORDS))
        elif edit == "nest":
            for _ in range(draw(st.sampled_from([1, 4, 5, 40]))):
                holder[last] = {draw(st.sampled_from(["any", "all"])): [holder[last]]}
        elif edit == "wrap":
            holder[last] = {draw(st.sampled_from(WORDS)): holder[last]}
        elif edit == "many":
            holder[last] = [holder[last]] * draw(st.sampled_from([2, 60, 300]))
        elif isinstance(holder, dict):
            value = holder.pop(last) if edit == "rename" else holder[last]
            if edit == "rename":
                holder[draw(st.sampled_from([*ODD_TEXTS, *WORDS]))] = value
            elif not above:
                return flow(Twice([*document.items(), (last, value)]))
    return flow(document)


@SOME
@given(broken_documents())
def test_a_broken_document_has_problems_inside_it_or_compiles_and_folds(text: str) -> None:
    parsed = checked(text)
    if parsed.journey is not None:
        fold(parsed.journey, A_FEW_EVENTS)


@pytest.mark.parametrize("odd", [*ODD_TEXTS, 10**30, 10**5_000, -1, 1e308, True, None, [], {}, [[None]]], ids=repr_of)
def test_one_odd_value_in_many_places_has_problems_inside_the_file(odd: Any) -> None:
    for start in range(3):
        document = copied(DOCUMENTS[-1])
        for *above, last in places(document)[1 + start :: 3]:
            holder = document
            for key in above:
                holder = holder[key] if isinstance(holder, dict | list) and holder else None
            if isinstance(holder, dict | list) and not isinstance(holder[last], dict | list):
                holder[last] = odd
        assert checked(flow(document)).problems


def test_the_documents_that_are_broken_here_were_whole() -> None:
    for document in DOCUMENTS:
        parsed = checked(flow(document))
        assert parsed.journey is not None, [str(problem) for problem in parsed.problems]
        assert fold(parsed.journey, A_FEW_EVENTS)


LARGE = {
    "a long list": "journey: x\nstages:\n" + "- a\n" * 250_000,
    "a list in one line": "a: [" + "a," * 500_000 + "]",
    "deep in one line": "a: " + "[" * 1_000_000,
    "deep by lines": "".join(" " * n + "a:\n" for n in range(1_000)),
    "many links, more of them unknown": "journey: x\nlinks:\n"
    + "".join(f"  l{n}: example.com/{n}\n" for n in range(3_000))
    + "stages:\n- a: {clicked: ["
    + ",".join(f"z{n}" for n in range(6_000))
    + "]}\n",
    "many stages": "journey: x\nstages:\n" + "".join(f"- a{n}: {{any: [a.b{n}, a.c{n}]}}\n" for n in range(2_500)),
    "aliases of aliases": "a: &a [x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 8)}]\n" for n in range(12)),
    "an alias of itself": "a: &a [*a, *a]\n",
    "a long key many times": f"a: &k {'k' * 100_000}\nb: [" + ",".join(["{*k : 1}"] * 2_000) + "]\nstages: [{x: *k}]\n",
    "one text": '"' + "\\n" * 500_000 + '"',
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in LARGE.items()])
def test_a_large_file_is_answered_soon_and_briefly(text: str) -> None:
    begun = time.process_time()

    parsed = checked(text)

    assert parsed.problems
    assert len(parsed.problems) <= 501
    assert max(len(problem.message) for problem in parsed.problems) <= 403
    assert time.process_time() - begun < 8


# Records

HUGE = "é" * 100_000
"""About as much as a record can hold at all."""

BOUND = 90_000
"""Bytes of a state after a few events: less than one huge text would take."""

_texts = (
    st.text(st.characters(exclude_categories=()), max_size=6)
    | st.sampled_from(
        [
            "",
            ":",
            "a:b",
            "list",
            "all",
            "domain",
            "tracking",
            "exact",
            "n-1",
            "m1",
            "\x00",
            "\uffff",
            "http://[",
            "%zz",
            "a.b",
            HUGE,
        ]
    )
    | st.sampled_from([url for url in URLS if url])
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=4,
)
_times = st.integers(START, START + 3 * DAY).map(rfc3339) | st.sampled_from(
    [
        "2000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "2026-02-30T00:00:00Z",
        "2026-03-02T23:59:60Z",
        "now",
        "",
    ]
)
_fields = [field for field in Event.__struct_encode_fields__ if field not in ("id", "type", "occurred_at", "contact")]
_objects = st.dictionaries(st.sampled_from(["n", "purpose", "campaign", "a.b", "class"]) | _texts, _values, max_size=3)


def _likely(field: str) -> st.SearchStrategy[Any]:
    """Values of the right kind for a field, so that most records get through the door."""
    if field in ("machine", "test", "first", "amp", "async", "verified"):
        return st.sampled_from([True, False, None]) if field != "test" else st.sampled_from([False, False, True])
    if field in ("metadata", "data"):
        return _objects
    if field in ("machine_reasons", "tags", "cut"):
        return st.lists(_texts, max_size=2)
    if field in ("attempt", "v"):
        return st.integers(-(2**70), 2**70)
    if field == "smtp":
        return st.fixed_dictionaries({"code": st.integers(-(2**40), 2**40), "text": _texts})
    if field == "raw":
        return st.fixed_dictionaries({"part": st.integers(0, 9)})
    return _texts


@st.composite
def wire_records(draw: st.DrawFn) -> bytes:
    """The bytes of one record: JSON with every field there may be, of any content, now and then of any kind."""
    record: dict[str, Any] = {
        "id": draw(st.integers(0, 40).map(str) | _texts),
        "type": draw(
            st.sampled_from([*TYPES, "contact.erased", "email.replied", "email.unknown", "email.x", "contact.x", "a.b"])
            | _texts
        ),
        "occurred_at": draw(_times),
        "contact": draw(st.just("x") | _texts),
    }
    for field in draw(st.lists(st.sampled_from(_fields), max_size=8, unique=True)):
        record[field] = draw(_likely(field))
    if draw(st.integers(0, 9)) == 0:
        record[draw(st.sampled_from([*record]))] = draw(_values)
    # Escapes where JSON needs them: half a character can only be written as one.
    return re.sub(
        "[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", json.dumps(record, ensure_ascii=False)
    ).encode()


STREAMS = settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


@STREAMS
@given(programs(), st.lists(wire_records(), max_size=14), st.none() | st.just(START + 2 * DAY))
def test_any_record_is_refused_with_a_reason_or_folded_into_a_small_state(
    journeys: list[d.Journey], records: list[bytes], broker_time: int | None
) -> None:
    partition = Partition(*journeys)
    fold = Fold(partition.program, clock=0, state_of=partition.states.get, timers=partition.timers)

    outcomes = []
    for record in records:
        read = read_event(record, broker_time=broker_time)
        if isinstance(read, Rejected):
            outcomes.append(read.reason)
            continue
        assert isinstance(read, Incoming)
        outcomes += [step.outcome for _, step in fold.event(read.event, read.at) if step.outcome is not None]
    fold.run_to(LAST_TIME)

    assert len(records) == len(outcomes)
    for state in fold.changed.values():
        if state is not None:
            packed = pack(state)
            assert state == unpack(packed)
            assert len(packed) < BOUND


@pytest.mark.parametrize("field", sorted({*_fields, "id", "contact"} - {"machine", "test"}))
def test_a_huge_text_in_any_field_of_every_type_is_refused_or_not_kept(field: str) -> None:
    """Clicks of unknown origin soon after a delivery are held, with what their records need."""
    huge: Any = {"n": HUGE} if field in ("data", "metadata") else HUGE
    whole = parse_journey(EVERYTHING, "j").journey
    assert whole is not None
    fold = Fold(compile_program([whole]), clock=0, state_of=lambda contact: None, timers=TimerIndex())
    for number, type_ in enumerate(dict.fromkeys([*TYPES, "email.replied", "x.y"])):
        record = {
            "id": f"{number}",
            "type": type_,
            "occurred_at": rfc3339(START + number * MICROS),
            "contact": "x",
            "campaign": "n-1",
            "message": "m",
            "scope": "list",
            "purpose": "tracking",
            field: huge,
        }
        read = read_event(json.dumps(record, ensure_ascii=False).encode())
        if isinstance(read, Incoming):
            fold.event(read.event, read.at)
        assert all(state is not None and len(pack(state)) < 20_000 for state in fold.changed.values())


@given(st.sampled_from(sorted({*_fields, "id", "contact", "type"} - {"machine", "test"})))
def test_half_a_character_does_not_come_through_the_door(field: str) -> None:
    record = {"id": "1", "type": "a.b", "occurred_at": rfc3339(START), "contact": "x", field: "\ud800"}

    assert isinstance(read_event(json.dumps(record).encode()), Rejected)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_with_a_reason(value: bytes) -> None:
    assert isinstance(read_event(value), Rejected)
