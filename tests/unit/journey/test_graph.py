"""The picture of a journey: what each law of moves looks like, and text that a drawing program can read."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from tests.properties.test_journey_laws import journeys

from stagepost.journey.definition import Journey
from stagepost.journey.graph import _DRAWERS, Arrow, Graph, graph_of, mermaid
from stagepost.journey.law import LAW
from stagepost.journey.parse import parse_journey

EXAMPLES = Path(__file__).parents[3] / "src" / "stagepost" / "journey" / "examples"

TEXT = """
journey: j
links: {pricing: {url: example.com/pricing, means: intent}}
stages:
  - one: {event: a.b, stalls_after: 3d}
  - two: {clicked: pricing}
  - three: {any: [{after: 9d}, {quiet: 2d}]}
setbacks:
  - cold: {quiet: 14d, from: [one]}
  - lost: {unsubscribed: any}
  - gone: {stuck: 90d, until: never}
recover: {clicked: any}
exits:
  - out: email.complained
  - old: {after: 180d}
reenter: {after: 5d, never_after: [out]}
goal: {reach: three, within: 30d}
consent: tracking
"""


def read(text: str) -> Journey:
    parsed = parse_journey(text, "j.yaml")
    assert parsed.journey is not None, parsed.problems
    return parsed.journey


def arrows(graph: Graph, kind: str) -> list[tuple[str, str, str, bool]]:
    return [(a.source, a.target, a.label, a.timer) for a in graph.arrows if a.kind == kind]


def test_every_row_of_the_law_has_a_drawer_and_arrows_come_in_its_order() -> None:
    assert [law.kind for law in LAW] == list(_DRAWERS)
    kinds = list(dict.fromkeys(arrow.kind for arrow in graph_of(read(TEXT)).arrows))
    assert [law.kind for law in LAW] == kinds


def test_places_stand_in_the_order_of_the_file_with_goal_and_links() -> None:
    assert [
        ("start", "no run", ""),
        ("stage", "one", ""),
        ("stage", "two", ""),
        ("stage", "three", "goal, within 30d"),
        ("setback", "cold", ""),
        ("setback", "lost", ""),
        ("setback", "gone", "until never"),
        ("exit", "out", ""),
        ("exit", "old", ""),
        ("exit", "consent_withdrawn", ""),
        ("link", "pricing", "example.com/pricing, intent"),
    ] == [(node.kind, node.name, node.note) for node in graph_of(read(TEXT)).nodes]


def test_each_kind_of_move_is_drawn_from_where_the_law_lets_it_begin() -> None:
    graph = graph_of(read(TEXT))
    assert [
        ("run", "exit0", "email.complained", False),
        ("run", "exit1", "180d after the run began", True),
        ("run", "exit2", "consent to tracking withdrawn", False),
    ] == arrows(graph, "exit")
    assert [
        ("stage0", "setback0", "quiet for 2w", True),
        ("below", "setback1", "unsubscribed any", False),
        ("setback0", "setback1", "worse", False),
        ("below", "setback2", "stuck for 90d", True),
        ("setback0", "setback2", "worse", True),
        ("setback1", "setback2", "worse", True),
    ] == arrows(graph, "setback")
    assert [
        ("setback0", "stages", "recover: clicked any", False),
        ("setback1", "stages", "recover: subscribed again", False),
    ] == arrows(graph, "recover")
    assert [
        ("stage0", "stage1", "clicked pricing", False),
        ("stage1", "stage2", "9d after the run began or quiet for 2d", True),
        ("setback0", "stages", "advance: a higher stage", False),
        ("setback1", "stages", "advance: a higher stage", False),
    ] == arrows(graph, "advance")
    assert [
        ("start", "stage0", "a.b", False),
        ("start", "stage1", "enter", False),
        ("start", "stage2", "enter", True),
    ] == arrows(graph, "enter")
    assert [("exit1", "stages", "reenter, 5d later", False), ("exit2", "stages", "reenter, 5d later", False)] == arrows(
        graph, "reenter"
    )
    assert [("stage0", "stage0", "stall after 3d", True)] == arrows(graph, "stall")


def test_enter_first_draws_one_way_in() -> None:
    graph = graph_of(read(TEXT + "enter: first\n"))
    assert ["stage0"] == [target for _, target, _, _ in arrows(graph, "enter")]
    assert {"stage0"} == {target for _, target, _, _ in arrows(graph, "reenter")}


def test_mermaid_text_has_every_node_every_arrow_and_nothing_that_could_be_markup() -> None:
    nasty = TEXT.replace("a.b", """'a."b]<i>--%%{x}'""") + 'title: "a\\nend\\n%%{init}%%"\n'
    text = mermaid(graph_of(read(nasty)))
    assert text.startswith("flowchart TD\n  %% j, a end #37;#37;#123;init#125;#37;#37;, version ")
    assert '  start -->|"a.#34;b#93;#60;i#62;--#37;#37;#123;x#125;"| stage0\n' in text
    assert '  run -.->|"180d after the run began"| exit1\n' in text


def test_the_picture_of_the_packaged_example() -> None:
    journey = read((EXAMPLES / "webinar-nurture.yaml").read_text())
    assert (Path(__file__).parent / "golden" / "webinar-nurture.mmd").read_text() == mermaid(graph_of(journey))


_LINE = re.compile(
    r"flowchart TD|  %% .*|end"
    r'|subgraph \w+\["[^"\[\]<>]*"\]'
    r'|\w+(\(\["|\["|\{\{")[^"\[\]{}]*("\]\)|"\]|"\}\})'
    r'|\w+ (-->|-\.->)\|"[^"|\[\]{}<>]*"\| \w+'
    r"|classDef \w+ [\w:#,-]+|class [\w,]+ \w+"
)


@settings(max_examples=60, deadline=None)
@given(journeys())
def test_every_journey_can_be_drawn_and_every_arrow_ends_somewhere(journey: Journey) -> None:
    graph = graph_of(journey)
    text = mermaid(graph)
    assert [] == [line for line in text.splitlines() if not _LINE.fullmatch(line) and not _LINE.fullmatch(line.strip())]
    known = {node.id for node in graph.nodes} | set(re.findall(r"subgraph (\w+)", text))
    assert set() == {end for arrow in graph.arrows for end in (arrow.source, arrow.target)} - known
    assert all(isinstance(arrow, Arrow) and arrow.label for arrow in graph.arrows)
