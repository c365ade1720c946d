"""Journey files: what is read, and for each fault the line, the column, the code and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagepost.events import DAY, HOUR, MICROS, MINUTE
from stagepost.journey.definition import (
    After,
    AllOf,
    AnyOf,
    Bots,
    Clicked,
    Consent,
    Counting,
    EventIs,
    Goal,
    Journey,
    Link,
    Missed,
    NoClick,
    Not,
    Opened,
    Quiet,
    Reenter,
    ScopePattern,
    Stuck,
    Subscribed,
    Unsubscribed,
)
from stagepost.journey.definition import Test as FieldTest
from stagepost.journey.parse import Parsed, parse_journey
from stagepost.journey.problems import CATALOGUE, Code, Severity

EXAMPLES = Path(__file__).parents[3] / "src" / "stagepost" / "journey" / "examples"


def good(text: str) -> Journey:
    parsed = parse_journey(text, "j.yaml")
    assert parsed.journey is not None, [str(problem) for problem in parsed.problems]
    return parsed.journey


def with_stage(condition: str, rest: str = "") -> Journey:
    return good(f"journey: j\nlinks: {{pricing: example.com/pricing}}\nstages:\n  - one: {condition}\n{rest}")


@pytest.mark.parametrize("name", ["webinar-nurture", "product-interest"])
def test_the_packaged_examples_have_no_problem(name: str) -> None:
    parsed = parse_journey((EXAMPLES / f"{name}.yaml").read_text(), name)
    assert (parsed.problems, parsed.journey is not None) == ((), True)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("order.completed", EventIs("order.completed")),
        ("{event: order.completed}", EventIs("order.completed")),
        ("{when: order.completed}", EventIs("order.completed")),
        (
            "{event: a.b, where: {total: {gt: 0, le: 9.5}, plan: pro, n: {in: [1, x]}}}",
            EventIs(
                "a.b",
                (
                    FieldTest("total", "gt", 0),
                    FieldTest("total", "le", 9.5),
                    FieldTest("plan", "eq", "pro"),
                    FieldTest("n", "in", (1, "x")),
                ),
            ),
        ),
        ("{event: a.b, campaign: n-*}", EventIs("a.b", campaign="n-*")),
        ("{event: a.b, after_send: 24h}", EventIs("a.b", after_send=24 * HOUR)),
        ("{clicked: any}", Clicked(None)),
        ("{clicked: pricing}", Clicked(("pricing",))),
        ("{clicked: [pricing]}", Clicked(("pricing",))),
        (
            "{clicked: any, times: 3, within: 7d, per: campaign}",
            Clicked(None, counting=Counting(3, 7 * DAY, True)),
        ),
        ("{opened: any, campaign: w-*}", Opened(campaign="w-*")),
        ("{subscribed: any}", Subscribed(ScopePattern("any"))),
        ("{subscribed: all}", Subscribed(ScopePattern("all"))),
        ("{subscribed: news-*}", Subscribed(ScopePattern("scope", None, "news-*"))),
        ("{unsubscribed: {scope: list, id: n}}", Unsubscribed(ScopePattern("scope", "list", "n"))),
        ("{unsubscribed: any, after_send: 24h}", Unsubscribed(ScopePattern("any"), 24 * HOUR)),
        ("{no_click: {sends: 3, grace: 48h}}", NoClick(3, 48 * HOUR)),
        ("{no_click: {sends: 3, grace: 48h, count: sent}}", NoClick(3, 48 * HOUR, "sent")),
        ("{quiet: 14d}", Quiet(14 * DAY)),
        ("{quiet: {for: 2w, opens: true}}", Quiet(14 * DAY, True)),
        ("{stuck: 90s}", Stuck(90 * MICROS)),
        ("{after: 15m}", After(15 * MINUTE)),
        ("{any: [a.b, c.d]}", AnyOf((EventIs("a.b"), EventIs("c.d")))),
        ("{all: [a.b, {not: c.d}]}", AllOf((EventIs("a.b"), Not(EventIs("c.d"))))),
        (
            "{missed: {first: {clicked: pricing}, then: a.b, within: 5d}}",
            Missed(Clicked(("pricing",)), EventIs("a.b"), 5 * DAY),
        ),
    ],
)
def test_each_condition_is_read_in_its_long_and_short_forms(text: str, condition: object) -> None:
    assert with_stage(text).stages[0].when == condition


def test_every_section_is_read() -> None:
    journey = good(
        """
journey: full
title: Everything
sends: ["n-*"]
labels: {team: crm}
links: {leave: {url: "example.com/leave", means: disengagement}}
stages:
  - one: a.b
  - two: {when: c.d, stalls_after: 21d}
setbacks:
  - drifting: {quiet: 3d, from: [one], until: c.d}
  - gone: {unsubscribed: all, until: never}
recover: {clicked: any}
exits:
  - out: email.complained
enter: first
reenter: {after: 90d, never_after: [out, consent_withdrawn]}
goal: {reach: two, within: 60d}
consent: {purpose: tracking, default: granted}
bots: {instant: 3s, burst: {urls: 4, within: 20s}, near: 1m, hold: 5s}
attribution: {window: 3d}
lateness: 12h
on_change: keep
"""
    )
    assert journey.links == (Link("leave", "example.com/leave", "disengagement"),)
    assert [(s.name, s.sources, s.until) for s in journey.setbacks] == [
        ("drifting", ("one",), EventIs("c.d")),
        ("gone", ("one",), "never"),
    ]
    assert journey.stages[1].stalls_after == 21 * DAY
    assert journey.goal == Goal("two", 60 * DAY)
    assert journey.reenter == Reenter(90 * DAY, ("out", "consent_withdrawn"))
    assert journey.consent == Consent("tracking", "granted")
    assert journey.bots == Bots(3 * MICROS, 4, 20 * MICROS, MINUTE, 5 * MICROS)
    assert (journey.attribution, journey.lateness, journey.enter) == (3 * DAY, 12 * HOUR, "first")


def test_yaml_1_2_leaves_words_and_times_of_day_as_text() -> None:
    assert with_stage("{event: a.b, where: {answer: yes, at: 14:30}}").stages[0].when == EventIs(
        "a.b", (FieldTest("answer", "eq", "yes"), FieldTest("at", "eq", "14:30"))
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1000", 1000),
        ("-1.5e3", -1500.0),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1_0.5", "1_0.5"),
        ("0b11", "0b11"),
    ],
)
def test_numbers_are_those_of_the_core_schema(written: str, value: object) -> None:
    (test,) = with_stage(f"{{event: a.b, where: {{x: {written}}}}}").stages[0].when.where  # type: ignore[union-attr]
    assert (type(value), value) == (type(test.value), test.value)


def test_the_directive_of_yaml_1_2_may_stand() -> None:
    assert "j" == good("%YAML 1.2\n---\njourney: j\nstages:\n  - one: a.b\n").name


def test_the_version_is_of_the_meaning_not_of_the_spelling() -> None:
    one = good("journey: j\ntitle: A\nlinks: {a: x.com/a, b: x.com/b}\nstages:\n  - s: {clicked: [a]}\n")
    two = good("# a comment\nlinks: {b: x.com/b, a: {url: x.com/a}}\nstages: [{s: {when: {clicked: a}}}]\njourney: j\n")
    other = good("journey: j\nlinks: {a: x.com/a, b: x.com/b}\nstages:\n  - s: {clicked: [b]}\n")
    assert one.version == two.version != other.version
    assert len(one.version) == 8


HEAD = "journey: j\nlinks: {pricing: example.com/pricing}\nstages:\n"
STAGED = HEAD + "  - one: a.b\n  - two: c.d\n"
TESTED = (
    HEAD.replace("{", "{{").replace("}", "}}")
    + "  - one: a.b\nexits: [out: e.f]\ntests:\n  - name: t\n    events: [{}]\n    expect: [{}]\n"
)

FAULTS = [
    # what is wrong, text, line, column, code, words of the message
    ("tab", "journey: j\nstages:\n\t- one: a.b\n", 3, 1, "SP001", "not with tabs"),
    ("brackets", "journey: [j\n", 1, 10, "SP001", "not closed"),
    ("bracket at the end", "journey: j\nstages: [\n\n\n", 2, 10, "SP001", "end"),
    ("star", "journey: j\nsends: [*-news]\nstages:\n  - one: a.b\n", 2, 9, "SP001", "* needs quotes"),
    ("colon in a text", "journey: j\ntitle: A: B\nstages:\n  - one: a.b\n", 2, 9, "SP001", "needs quotes"),
    ("wrong indent", "journey: j\nstages:\n  - one: a.b\n - two: c.d\n", 4, 2, "SP001", "same column"),
    ("no comma", "journey: j\nstages:\n  - one: {event: a.b where: {x: 1}}\n", 3, 27, "SP001", "commas"),
    ("sign", "journey: j\nstages:\n  - one: @a.b\n", 3, 10, "SP001", "needs quotes"),
    ("quote", 'journey: j\ntitle: "A\nstages:\n  - one: a.b\n', 2, 8, "SP001", "not closed"),
    ("character", "journey: j\ntitle: ab\x07\n", 2, 10, "SP001", "U+0007"),
    ("character in a file of an old Mac", "journey: j\rtitle: ab\x07\r", 2, 10, "SP001", "U+0007"),
    ("version", "# of old\n%YAML 1.1\n---\njourney: j\n", 2, 1, "SP001", "leave out %YAML 1.1"),
    ("newer version", "%YAML 1.3\n---\njourney: j\n", 1, 1, "SP001", "leave out %YAML 1.3"),
    ("times with a line between", HEAD + "  - one: {clicked: any, times: 1_0}\n", 4, 32, "SP103", "whole number"),
    ("no condition", HEAD + "  - one:\n  - two: a.b\n", 4, 5, "SP301", "write one: CONDITION"),
    ("no goal", STAGED + "goal:\n\n\ntitle: x\n", 6, 1, "SP103", "goal: {reach"),
    ("nothing in braces", STAGED + "goal: {within: 3d, reach: }\n", 6, 20, "SP103", "text"),
    ("no exits", STAGED + "exits:\n", 6, 1, "SP103", "a list"),
    ("stages misspelt", "journey: j\nstage:\n  - one: a.b\n", 2, 1, "SP101", "did you mean stages?"),
    (
        "stages misspelt that others name",
        "journey: j\nstagse:\n  - one: a.b\n  - two: c.d\ngoal: {reach: two}\n"
        "setbacks:\n  - cold: {quiet: 3d, from: [one], until: never}\n"
        "tests:\n  - name: t\n    events: [0d a.b]\n    expect: [0d none -> one, 3d one -> cold]\n",
        2,
        1,
        "SP101",
        "did you mean stages?",
    ),
    (
        "links misspelt",
        "journey: j\nlnks: {p: x.com}\nstages:\n  - one: {clicked: p}\n",
        2,
        1,
        "SP101",
        "did you mean links?",
    ),
    (
        "exits misspelt",
        STAGED + "exts: [out: e.f]\nreenter: {after: 3d, never_after: [out]}\n",
        6,
        1,
        "SP101",
        "did you mean exits?",
    ),
    (
        "recover misspelt",
        STAGED + "setbacks: [cold: {quiet: 3d}]\nrecovr: a.b\n",
        7,
        1,
        "SP101",
        "did you mean recover?",
    ),
    ("stages as a mapping", "journey: j\nstages:\n  one: a.b\n", 3, 3, "SP103", "begin with '- '"),
    ("url misspelt", "journey: j\nlinks: {a: {uri: x.com}}\nstages:\n  - one: a.b\n", 2, 13, "SP101", "mean url?"),
    (
        "stalls in a setback",
        STAGED + "setbacks:\n  - a: {quiet: 3d, until: never, stalls_after: 3d}\n",
        7,
        34,
        "SP101",
        "",
    ),
    ("where as a text", HEAD + "  - one: {event: a.b, where: total > 0}\n", 4, 30, "SP103", "{name: value}"),
    ("a list", "- journey: j\n", 1, 1, "SP103", "mapping"),
    ("nothing", "", 1, 1, "SP103", "mapping"),
    ("no name", "stages:\n  - one: a.b\n", 1, 1, "SP102", "journey: NAME"),
    ("no stages", "journey: j\n", 1, 1, "SP102", "stages"),
    ("bad journey name", "journey: My Journey\nstages:\n  - one: a.b\n", 1, 10, "SP105", "write my_journey"),
    ("unknown key", STAGED + "exit:\n  - out: e.f\n", 6, 1, "SP101", "did you mean exits?"),
    ("key twice", STAGED + "title: a\ntitle: b\n", 7, 1, "SP104", "line 6"),
    ("bad stage name", HEAD + "  - One: a.b\n", 4, 5, "SP105", "write one"),
    ("stage twice", HEAD + "  - one: a.b\n  - one: c.d\n", 5, 5, "SP106", "line 4"),
    ("stage and exit", STAGED + "exits:\n  - two: e.f\n", 7, 5, "SP106", "line 5"),
    ("two names in an entry", HEAD + "  - {one: a.b, two: c.d}\n", 4, 5, "SP103", "one name"),
    ("no type", HEAD + "  - one: nodot\n", 4, 10, "SP301", "have a dot"),
    ("clicked as a word", HEAD + "  - one: clicked\n", 4, 10, "SP301", "clicked: any"),
    ("two conditions", HEAD + "  - one: {clicked: any, quiet: 3d}\n", 4, 10, "SP301", "any: or all:"),
    ("unknown condition", HEAD + "  - one: {cliked: any}\n", 4, 11, "SP101", "did you mean clicked?"),
    ("unknown option", HEAD + "  - one: {clicked: any, withn: 3d}\n", 4, 25, "SP101", "did you mean within?"),
    ("a list of conditions", HEAD + "  - one: [a.b, c.d]\n", 4, 10, "SP301", "any:"),
    ("empty any", HEAD + "  - one: {any: []}\n", 4, 16, "SP301", "no conditions"),
    ("stalls only", HEAD + "  - one: {stalls_after: 3d}\n", 4, 10, "SP301", "when: CONDITION"),
    ("unknown link", HEAD + "  - one: {clicked: pricng}\n", 4, 20, "SP201", "did you mean pricing?"),
    ("dead link", "journey: j\nlinks:\n  a: /pricing\nstages:\n  - one: a.b\n", 3, 6, "SP202", "host first"),
    ("blank in link", "journey: j\nlinks:\n  a: 'x.com/a b'\nstages:\n  - one: a.b\n", 3, 6, "SP202", "%20"),
    ("link named any", "journey: j\nlinks:\n  any: x.com\nstages:\n  - one: a.b\n", 3, 3, "SP105", "reserved"),
    ("means", "journey: j\nlinks:\n  a: {url: x.com, means: intnt}\nstages:\n  - one: a.b\n", 3, 26, "SP109", "intent"),
    ("bad duration", HEAD + "  - one: {quiet: 14 days}\n", 4, 18, "SP107", "14d"),
    ("zero duration", HEAD + "  - one: {quiet: 0d}\n", 4, 18, "SP107", "at least"),
    ("endless duration", HEAD + "  - one: {quiet: 9999d}\n", 4, 18, "SP107", "3650d"),
    ("times 0", HEAD + "  - one: {clicked: any, times: 0}\n", 4, 32, "SP108", "between 1 and 100"),
    ("times 101", HEAD + "  - one: {clicked: any, times: 101}\n", 4, 32, "SP108", "between 1 and 100"),
    ("times in words", HEAD + "  - one: {clicked: any, times: three}\n", 4, 32, "SP103", "whole number"),
    ("per message", HEAD + "  - one: {clicked: any, times: 2, per: message}\n", 4, 40, "SP109", "campaign"),
    ("where operator", HEAD + "  - one: {event: a.b, where: {t: {over: 3}}}\n", 4, 35, "SP307", "operator"),
    ("where null", HEAD + "  - one: {event: a.b, where: {t: null}}\n", 4, 34, "SP307", "exists: false"),
    ("where regex", HEAD + "  - one: {event: a.b, where: {t: {matches: '('}}}\n", 4, 44, "SP307", "RE2"),
    (
        "where regex of letters",
        HEAD + "  - one: {event: a.b, where: {t: {matches: '(é'}}}\n",
        4,
        44,
        "SP307",
        ": missing ): (é",
    ),
    ("when in recover", STAGED + "recover: {when: {clicked: any}}\n", 6, 11, "SP101", "its condition here itself"),
    ("any in a list", HEAD + "  - one: {clicked: [any]}\n", 4, 21, "SP201", "write clicked: any"),
    ("days in full", HEAD + "  - one: {quiet: 7days}\n", 4, 18, "SP107", "did you mean 7d?"),
    ("where in", HEAD + "  - one: {event: a.b, where: {t: {in: 3}}}\n", 4, 39, "SP307", "list"),
    ("where nothing", HEAD + "  - one: {event: a.b, where: {t: {}}}\n", 4, 34, "SP307", "tested for nothing"),
    ("where in infinity", HEAD + "  - one: {event: a.b, where: {t: {in: [1e999]}}}\n", 4, 39, "SP307", "finite"),
    ("event of an event", HEAD + "  - one: {event: {event: a.b, times: 3}}\n", 4, 18, "SP301", "one type"),
    ("url of a mapping", "journey: j\nlinks:\n  a: {url: {b: c}}\nstages:\n  - one: a.b\n", 3, 12, "SP103", "text"),
    ("number as a name", "journey: 3\nstages:\n  - one: a.b\n", 1, 10, "SP105", "expected a name"),
    ("true as a name", "journey: true\nstages:\n  - one: a.b\n", 1, 10, "SP105", "expected a name"),
    ("digits of another script", HEAD + "  - one: {quiet: \u0663d}\n", 4, 18, "SP107", "14d"),
    ("where exists", HEAD + "  - one: {event: a.b, where: {t: {exists: 1}}}\n", 4, 43, "SP307", "true or false"),
    ("after_send on delivered", HEAD + "  - one: {event: email.delivered, after_send: 3h}\n", 4, 10, "SP306", "itself"),
    ("campaign alone", HEAD + "  - one: {unsubscribed: any, campaign: x}\n", 4, 10, "SP306", "after_send"),
    ("not around within", HEAD + "  - one: {not: {clicked: any, within: 3d}}\n", 4, 16, "SP303", "without within"),
    ("not around any", HEAD + "  - one: {not: {any: [a.b]}}\n", 4, 16, "SP303", "one event"),
    (
        "missed of a timer",
        HEAD + "  - one: {missed: {first: {quiet: 3d}, then: a.b, within: 3d}}\n",
        4,
        27,
        "SP305",
        "",
    ),
    (
        "missed with times",
        HEAD + "  - one: {missed: {first: a.b, then: {event: c.d, times: 2}, within: 3d}}\n",
        4,
        38,
        "SP305",
        "without times and within",
    ),
    ("missed without within", HEAD + "  - one: {missed: {first: a.b, then: c.d}}\n", 4, 19, "SP102", "within"),
    ("too deep", HEAD + "  - one: {any: [{all: [{any: [{all: [{any: [a.b]}]}]}]}]}\n", 4, 39, "SP304", "limit"),
    ("no way out", STAGED + "setbacks:\n  - cold: {quiet: 3d}\n", 7, 5, "SP302", "recover:"),
    ("from nowhere", STAGED + "setbacks:\n  - cold: {quiet: 3d, from: [three], until: never}\n", 7, 30, "SP203", ""),
    ("goal nowhere", STAGED + "goal: {reach: tow}\n", 6, 15, "SP203", "did you mean two?"),
    ("goal as a word", STAGED + "goal: two\n", 6, 7, "SP103", "reach"),
    ("never_after nothing", STAGED + "reenter: {after: 3d, never_after: [out]}\n", 6, 36, "SP204", "no exit"),
    ("reenter maybe", STAGED + "reenter: maybe\n", 6, 10, "SP109", "never, always"),
    ("bots on", STAGED + "bots: on\n", 6, 7, "SP109", "off"),
    ("enter last", STAGED + "enter: last\n", 6, 8, "SP109", "any, first"),
    ("sends as text", STAGED + "sends: weekly\n", 6, 8, "SP103", "list"),
    ("test line", STAGED + "tests:\n  - name: t\n    events: [0d jump high]\n    expect: []\n", 8, 14, "SP401", "jump"),
    ("test offset", STAGED + "tests:\n  - name: t\n    events: [soon a.b]\n    expect: []\n", 8, 14, "SP401", "offset"),
    ("expectation", STAGED + "tests:\n  - name: t\n    events: []\n    expect: [0d one]\n", 9, 14, "SP402", "->"),
    (
        "expectation of nowhere",
        STAGED + "tests:\n  - name: t\n    events: [0d a.b]\n    expect: [0d none -> onne]\n",
        9,
        14,
        "SP402",
        "did you mean one?",
    ),
    (
        "test with a number as name",
        STAGED + "tests:\n  - name: 3\n    events: [0d a.b]\n    expect: []\n",
        7,
        11,
        "SP103",
        "text",
    ),
    ("test key", TESTED.format("0d clicked x.com machne=true", ""), 8, 14, "SP401", "did you mean machine?"),
    ("test key of another verb", TESTED.format("0d sent n campaign=n", ""), 8, 14, "SP401", "it takes message="),
    ("test machine", TESTED.format("0d opened n machine=maybe", ""), 8, 14, "SP401", "true, false, unknown"),
    ("test scope", TESTED.format("0d unsubscribed lst:news", ""), 8, 14, "SP401", "list:ID"),
    ("test scope without id", TESTED.format("0d resubscribed list", ""), 8, 14, "SP401", "with an id"),
    ("stall of nothing", TESTED.format("0d a.b", "9d stall onne"), 9, 14, "SP402", "did you mean one?"),
    ("stall of an exit", TESTED.format("0d a.b", "9d stall out"), 9, 14, "SP402", "only stages stall"),
    (
        "test twice",
        STAGED + "tests:\n  - {name: t, events: [], expect: []}\n  - {name: t, events: [], expect: []}\n",
        8,
        12,
        "SP106",
        "line 7",
    ),
    ("test without name", STAGED + "tests:\n  - {events: [], expect: []}\n", 7, 5, "SP102", "name"),
]


@pytest.mark.parametrize(
    ("text", "line", "column", "code", "words"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_each_fault_has_its_place_its_code_and_a_way_to_mend_it(
    text: str, line: int, column: int, code: str, words: str
) -> None:
    parsed = parse_journey(text, "j.yaml")
    (problem,) = parsed.problems
    assert (problem.position.line, problem.position.column, problem.code.id) == (line, column, code)
    assert words in problem.message
    assert parsed.journey is None


def test_a_section_under_a_misspelt_key_is_looked_at_too() -> None:
    text = "journey: j\nstagse:\n  - one: {clicked: pricng}\n"
    assert ["SP101", "SP201"] == [p.code.id for p in parse_journey(text, "j").problems]


def test_one_run_shows_all_faults_in_the_order_of_the_file() -> None:
    text = HEAD + "  - one: {clicked: pricng}\n  - Two: {quiet: soon}\ngoal: {reach: three}\n"
    assert [p.code.id for p in parse_journey(text, "j").problems] == ["SP201", "SP105", "SP107", "SP203"]


def codes(text: str) -> list[tuple[str, bool]]:
    parsed = parse_journey(text, "j.yaml")
    return [(problem.code.id, parsed.journey is not None) for problem in parsed.problems]


COLD = "setbacks:\n  - a: {quiet: 3d}\n  - b: {no_click: {sends: 2, grace: 4d}}\nrecover: e.f\n"
GONE = "exits:\n  - out: {any: [c.d, e.f]}\n"

WARNED = [
    # what it is about, text, line, column, code
    ("a wider stage above", HEAD + "  - one: {clicked: pricing}\n  - two: {clicked: any}\n", 4, 5, "SP601"),
    ("more clicks below", HEAD + "  - one: {clicked: any, times: 3}\n  - two: {clicked: any}\n", 4, 5, "SP601"),
    (
        "a shorter window below",
        HEAD + "  - one: {clicked: any, times: 3, within: 1d}\n  - two: {clicked: any, times: 2, within: 3d}\n",
        4,
        5,
        "SP601",
    ),
    ("one list below", HEAD + "  - one: {subscribed: news}\n  - two: {subscribed: any}\n", 4, 5, "SP601"),
    ("a soonest below", HEAD + "  - one: {event: a.b, after_send: 1h}\n  - two: a.b\n", 4, 5, "SP601"),
    ("a part above", HEAD + "  - one: {all: [a.b, c.d]}\n  - two: {any: [c.d, e.f]}\n", 4, 5, "SP601"),
    ("grace in another setback", STAGED + COLD, 8, 9, "SP602"),
    (
        "grace on a line of its own",
        STAGED + "setbacks:\n  - a: {quiet: 3d}\n  - b:\n      any:\n        - e.f\n"
        "        - {no_click: {sends: 2, grace: 4d}}\nrecover: e.f\n",
        11,
        12,
        "SP602",
    ),
    ("an exit for the stage's event", STAGED + GONE, 5, 5, "SP603"),
    ("a type that nobody reports", HEAD + "  - one: email.clickd\n", 4, 10, "SP606"),
    ("a type of contacts", STAGED + "exits:\n  - out: {event: contact.erase}\n", 7, 11, "SP606"),
    ("a stage by opens", HEAD + "  - one: {opened: any}\n", 4, 11, "SP604"),
    ("a comparison as text", HEAD + "  - one: {event: a.b, where: {t: '> 50'}}\n", 4, 34, "SP607"),
    ("a number in quotes", HEAD + "  - one: {event: a.b, where: {t: {gt: '50'}}}\n", 4, 39, "SP607"),
    ("a number with a line between", HEAD + "  - one: {event: a.b, where: {t: {le: 1_000}}}\n", 4, 39, "SP607"),
    ("a window without times", HEAD + "  - one: {event: a.b, within: 7d}\n", 4, 11, "SP608"),
    ("campaigns without times", HEAD + "  - one: {any: [e.f, {event: a.b, per: campaign}]}\n", 4, 23, "SP608"),
    ("no sends", STAGED + "sends: []\n", 6, 8, "SP608"),
    ("opens in a list", HEAD + "  - one:\n      any:\n        - a.b\n        - {opened: any}\n", 7, 12, "SP604"),
    ("opens that end quiet", STAGED + "exits:\n  - out: {quiet: {for: 3d, opens: true}}\n", 7, 11, "SP604"),
    ("recovery by opens", STAGED + "setbacks:\n  - a: {quiet: 3d}\nrecover: {opened: any}\n", 8, 11, "SP604"),
    ("until opens", STAGED + "setbacks:\n  - a: {quiet: 3d, until: {opened: any}}\n", 7, 28, "SP604"),
]


@pytest.mark.parametrize(
    ("text", "line", "column", "code"), [warned[1:] for warned in WARNED], ids=[warned[0] for warned in WARNED]
)
def test_warnings_are_told_with_their_place_and_stop_nothing(text: str, line: int, column: int, code: str) -> None:
    parsed = parse_journey(text, "j.yaml")
    found = [(problem.position.line, problem.position.column, problem.code.id) for problem in parsed.problems]
    assert found == [(line, column, code)]
    assert parsed.journey is not None


@pytest.mark.parametrize(
    "stages",
    [
        "  - one: {clicked: any}\n  - two: {clicked: pricing}\n",
        "  - one: {clicked: any, times: 2}\n  - two: {clicked: any, times: 3}\n",
        "  - one: {clicked: any, times: 2, within: 3d}\n  - two: {clicked: any, times: 2, within: 1d}\n",
        "  - one: {clicked: any, times: 2}\n  - two: {clicked: any, times: 2, per: campaign}\n",
        "  - one: {event: a.b, campaign: x, after_send: 1h}\n  - two: {event: a.b, campaign: x}\n",
        "  - one: {event: a.b, campaign: x}\n  - two: {event: a.b, campaign: x, after_send: 1h}\n",
        "  - one: {quiet: 14d}\n  - two: {quiet: 7d}\n",
        "  - one: {event: a.b}\n  - two: {event: a.b, where: {n: 1}}\n",
        "  - one: {clicked: pricing}\n  - two: {clicked: any}\nenter: first\n",
    ],
)
def test_stages_that_can_be_reached_are_not_warned_of(stages: str) -> None:
    assert codes(HEAD + stages) == []


def test_an_exit_by_the_event_of_the_first_stage_hides_nothing_for_that_is_where_runs_begin() -> None:
    assert codes(STAGED + "exits:\n  - out: a.b\n") == []


@pytest.mark.parametrize(
    ("enter", "who"), [("any", "only contacts without a run get there"), ("first", "nobody gets there")]
)
def test_of_a_stage_behind_an_exit_it_is_told_who_still_gets_there(enter: str, who: str) -> None:
    (problem,) = parse_journey(STAGED + GONE + f"enter: {enter}\n", "j").problems
    assert problem.message == f"exit out holds whenever two does, and is tried first: {who}"


def test_clicks_on_any_link_do_not_hide_a_stage_reached_by_a_disengagement_link() -> None:
    text = "journey: j\nlinks: {leave: {url: x.com, means: disengagement}}\nstages:\n"
    assert codes(text + "  - one: {clicked: leave}\n  - two: {clicked: any}\n") == []


@pytest.mark.parametrize(
    ("test", "meant"),
    [
        ("'> 50'", "t: {gt: 50}"),
        ("'>=-0.5'", "t: {ge: -0.5}"),
        ("{gt: '< 1_000'}", "t: {lt: 1000}"),
        ("{ge: 1_000.5}", "t: {ge: 1000.5}"),
        ("'!= pro'", "t: {ne: pro}"),
        ("'== 3'", "t: {eq: 3}"),
    ],
)
def test_what_looks_like_a_test_of_a_number_is_told_with_what_to_write(test: str, meant: str) -> None:
    (problem,) = parse_journey(HEAD + f"  - one: {{event: a.b, where: {{t: {test}}}}}\n", "j").problems
    assert problem.message.endswith(f": write {meant}")


@pytest.mark.parametrize(
    "test",
    ["'10115'", "{gt: '2026-01-01'}", "{gt: 50}", "{lt: b}", "'<b>'", "{prefix: '> 5'}", "{matches: '!=x'}", "'>'"],
)
def test_a_text_that_may_be_meant_as_text_is_not_warned_of(test: str) -> None:
    assert codes(HEAD + f"  - one: {{event: a.b, where: {{t: {test}}}}}\n") == []


def test_a_warning_hides_no_rule_that_never_acts() -> None:
    stages = "  - one: {event: a.b, where: {t: '> 5'}}\nexits:\n  - out: {not: c.d}\n"
    assert [code for code, _ in codes(HEAD + stages)] == ["SP607", "SP308"]


def test_every_code_of_the_catalogue_says_a_rule_and_an_example() -> None:
    assert all(code.rule and code.example and code.title for code in CATALOGUE.values())
    assert {fault[4] for fault in FAULTS} <= set(CATALOGUE)


@pytest.mark.parametrize("code", CATALOGUE.values(), ids=CATALOGUE)
def test_the_broken_file_of_each_code_has_that_problem_and_no_other(code: Code) -> None:
    parsed = parse_journey(code.broken, "j.yaml")
    assert [code.id] == [problem.code.id for problem in parsed.problems]
    assert code.broken.count("\n") <= 10
    assert (parsed.journey is None) == (code.severity == Severity.ERROR)


def test_alias_bombs_and_deep_nesting_are_refused_quickly() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12)
    )
    deep = "journey: " + "[" * 5_000
    for text in (bomb, deep, "x" * (1 << 20) + "x"):
        (problem,) = parse_journey(text, "j").problems
        assert problem.code.id in ("SP001", "SP002")


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"# \n\t0123.,_"), max_size=120))
def test_no_text_raises(text: str) -> None:
    assert isinstance(parse_journey(text, "j"), Parsed)


_VALUES = st.recursive(
    st.sampled_from(["any", "all", "a.b", "3d", "never", "pricing", "x"]) | st.integers() | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["event", "clicked", "any", "not", "missed", "first", "then", "within", "quiet", "where", "one"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            "journey stages links setbacks recover exits goal reenter consent bots tests sends labels".split()
        ),
        _VALUES,
        max_size=5,
    )
)
def test_no_tree_raises(tree: dict[str, object]) -> None:
    import json

    assert isinstance(parse_journey(json.dumps(tree), "j"), Parsed)


def test_reading_stops_at_the_first_value_too_many_or_too_deep_and_says_where() -> None:
    many = "journey: x\nstages:\n" + "- a\n" * 30_000
    deep = "".join(" " * n + "a:\n" for n in range(40))

    (too_many,), (too_deep,) = parse_journey(many, "j").problems, parse_journey(deep, "j").problems

    assert "j:19998:3: SP002 more than 20000 values" == str(too_many)
    assert "j:32:32: SP002 nested deeper than 32" == str(too_deep)


def test_an_anchor_may_be_given_anew() -> None:
    parsed = parse_journey("journey: x\nstages:\n- a: &w x.y\n- b: {any: [&w x.z, x.v]}\n- c: *w\n", "j")

    assert parsed.journey is not None
    assert [EventIs("x.y"), AnyOf((EventIs("x.z"), EventIs("x.v"))), EventIs("x.z")] == [
        stage.when for stage in parsed.journey.stages
    ]


def test_two_halves_of_a_character_as_json_escapes_them_are_one() -> None:
    parsed = parse_journey('{"journey": "x", "title": "\\ud83d\\ude00", "stages": [{"a": "x.y"}]}', "j")

    assert parsed.journey is not None
    assert "\U0001f600" == parsed.journey.title


def test_half_a_character_is_refused_where_it_stands() -> None:
    (problem,) = parse_journey('journey: x\nlabels: {team: "\\ud800"}\nstages: [{a: x.y}]\n', "j").problems

    assert "j:2:16: SP001 half of a character (\\ud800 to \\udfff)" == str(problem)


def test_after_500_faults_the_rest_is_not_looked_at_and_that_is_said() -> None:
    parsed = parse_journey("journey: x\nstages: [{a: x.y}]\n" + "".join(f"k{n}: v\n" for n in range(600)), "j")

    assert 501 == len(parsed.problems)
    assert "j:502:1: SP002 500 faults found, the rest of the file was not looked at" == str(parsed.problems[-1])


def test_a_journey_has_at_most_1000_conditions() -> None:
    def with_conditions(count: int) -> str:
        parts = ", ".join(f"x.e{n}" for n in range(48))
        whole, rest = divmod(count, 49)
        stages = [f"- a{n}: {{any: [{parts}]}}\n" for n in range(whole)] + [f"- b{n}: x.y{n}\n" for n in range(rest)]
        return "journey: x\nstages:\n" + "".join(stages)

    (fault,) = [problem for problem in parse_journey(with_conditions(1_001), "j").problems if problem.is_error]

    assert parse_journey(with_conditions(1_000), "j").journey is not None
    assert "SP108 more than 1000 conditions in one journey" == str(fault).partition(": ")[2]


def test_a_message_repeats_no_long_text() -> None:
    (problem,) = parse_journey(f"journey: x\nstages: [{{a: {'k' * 900}}}]\n", "j").problems

    assert 403 == len(problem.message)


def test_what_a_file_does_not_say_has_its_default() -> None:
    text = "journey: x\nstages: [{a: x.y}]\nsetbacks: [{s: {no_click: {sends: 1, grace: 1d}, until: never}}]\n"
    bare = parse_journey(text + "consent: {purpose: tracking}\n", "j").journey

    assert bare is not None
    assert ("any", None, 24 * HOUR, 7 * DAY, Consent("tracking", "denied")) == (
        bare.enter,
        bare.reenter,
        bare.lateness,
        bare.attribution,
        bare.consent,
    )
    assert Bots(2 * MICROS, 3, 10 * MICROS, 5 * MINUTE, 10 * MICROS) == bare.bots
    assert NoClick(1, DAY, "delivered") == bare.setbacks[0].when


def test_reenter_always_waits_for_nothing() -> None:
    parsed = parse_journey("journey: x\nstages: [{a: x.y}]\nreenter: always\n", "j")

    assert parsed.journey is not None
    assert Reenter(after=0) == parsed.journey.reenter


@pytest.mark.parametrize(("written", "meant"), [("gte", "ge"), ("<=", "le"), ("neq", "ne"), ("prefx", "prefix")])
def test_an_operator_by_another_name_is_mended_to_the_one_that_means_the_same(written: str, meant: str) -> None:
    text = f"journey: x\nstages: [{{a: {{event: x.y, where: {{total: {{'{written}': 1}}}}}}}}]\n"
    (problem,) = parse_journey(text, "j").problems
    assert f"(did you mean {meant}?); there are eq, ne," in problem.message


@pytest.mark.parametrize(
    ("rules", "line", "column"),
    [
        ("stages:\n  - a: {not: x.q}\n", 3, 5),
        ("stages:\n  - s: x.y\nexits:\n  - e: {all: [{not: x.q}, {not: x.z}]}\n", 5, 5),
        ("stages:\n  - s: x.y\nsetbacks:\n  - o: {unsubscribed: any, until: {not: {unsubscribed: any}}}\n", 5, 5),
        ("stages:\n  - s: x.y\nsetbacks:\n  - o: {quiet: 3d}\nrecover: {not: x.q}\n", 6, 10),
    ],
)
def test_a_rule_that_no_event_can_make_act_is_an_error(rules: str, line: int, column: int) -> None:
    [problem] = parse_journey("journey: j\n" + rules, "j.yaml").problems
    assert (problem.code.id, problem.position.line, problem.position.column) == ("SP308", line, column)
    assert "never acts" in problem.message


def test_not_beside_what_acts_is_none() -> None:
    text = "journey: j\nstages:\n  - s: {all: [x.y, {not: x.q}]}\n  - t: {any: [{not: x.q}, x.z]}\n"
    assert [problem for problem in parse_journey(text, "j.yaml").problems if problem.is_error] == []
