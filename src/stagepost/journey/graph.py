"""A journey as a picture: nodes and arrows out of the compiled definition, one way of drawing for each law of moves.

Law: every row of ``law.LAW`` has a drawer in ``_DRAWERS``, and an arrow is drawn only by the row whose move it shows.
``mermaid`` writes the picture down. May not contain: a rule that is not the law's or the file's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType

from stagepost.journey.compile import JourneyProgram, compile_program
from stagepost.journey.conditions import Leaf
from stagepost.journey.definition import Journey, Setback, Unsubscribed
from stagepost.journey.durations import duration_text
from stagepost.journey.law import LAW
from stagepost.journey.step import CONSENT_EXIT
from stagepost.journey.wording import words_of

START, RUN, STAGES, BELOW, SETBACKS = "start", "run", "stages", "below", "setbacks"
"""Nodes that are no place of the file: no run, and the frames around places. ``BELOW``: the stages below the goal."""


@dataclass(frozen=True, slots=True)
class Node:
    """``kind``: start, stage, setback, exit or link. ``name`` as in the file; ``note``: what else is to be known."""

    id: str
    kind: str
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """One possible move. ``kind`` is its law's; ``source`` and ``target`` are ids of nodes, or of frames.

    ``timer``: only time can bring it about, no event.
    """

    kind: str
    source: str
    target: str
    label: str
    timer: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order of the file; arrows in the order of the law, then of the file."""

    journey: str
    version: str
    title: str | None
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]


def graph_of(journey: Journey) -> Graph:
    """The picture of one journey."""
    program = compile_program([journey]).journeys[0]
    arrows = tuple(arrow for law in LAW for arrow in _DRAWERS[law.kind](program))
    return Graph(journey.name, journey.version, journey.title, tuple(_nodes(journey)), arrows)


def _nodes(journey: Journey) -> Iterator[Node]:
    yield Node(START, "start", "no run")
    for i, stage in enumerate(journey.stages):
        goal = journey.goal
        note = "" if goal is None or goal.reach != stage.name else "goal"
        if note and goal is not None and goal.within is not None:
            note = f"goal, within {duration_text(goal.within)}"
        yield Node(_stage(i), "stage", stage.name, note)
    for i, setback in enumerate(journey.setbacks):
        yield Node(_setback(i), "setback", setback.name, "until never" if setback.until == "never" else "")
    for i, exit_ in enumerate(journey.exits):
        yield Node(_exit(i), "exit", exit_.name)
    if journey.consent is not None:
        yield Node(_exit(len(journey.exits)), "exit", CONSENT_EXIT)
    for i, link in enumerate(journey.links):
        yield Node(f"link{i}", "link", link.name, link.pattern + (f", {link.means}" if link.means else ""))


def _stage(i: int) -> str:
    return f"stage{i}"


def _setback(i: int) -> str:
    return f"setback{i}"


def _exit(i: int) -> str:
    return f"exit{i}"


# What each row of the law looks like


def _exits(program: JourneyProgram) -> Iterator[Arrow]:
    journey = program.definition
    for i, exit_ in enumerate(journey.exits):
        timer = _by_timer(leaf for leaf in program.leaves.values() if i in leaf.exits)
        yield Arrow("exit", RUN, _exit(i), words_of(exit_.when), timer)
    if journey.consent is not None:
        yield Arrow("exit", RUN, _exit(len(journey.exits)), f"consent to {journey.consent.purpose} withdrawn")


def _setbacks(program: JourneyProgram) -> Iterator[Arrow]:
    journey = program.definition
    for i, setback in enumerate(journey.setbacks):
        timer = _by_timer(leaf for leaf in program.leaves.values() if i in leaf.setbacks)
        struck = [place for place, stage in enumerate(journey.stages) if stage.name in setback.sources]
        for source in _frames_of(program, struck):
            yield Arrow("setback", source, _setback(i), words_of(setback.when), timer)
        for milder in range(i):
            if set(journey.setbacks[milder].sources) & set(setback.sources):
                yield Arrow("setback", _setback(milder), _setback(i), "worse", timer)


def _frames_of(program: JourneyProgram, places: list[int]) -> list[str]:
    """One frame for stages that fill it, so that a rule for all of them is one arrow."""
    if len(places) == len(program.stages):
        return [STAGES]
    if len(places) > 1 and places == list(range(program.goal_rank)):
        return [BELOW]
    return [_stage(place) for place in places]


def _recoveries(program: JourneyProgram) -> Iterator[Arrow]:
    for i, setback in enumerate(program.definition.setbacks):
        if setback.until != "never":
            ways = [leaf for leaf in program.leaves.values() if leaf.until and leaf.back is not None and i in leaf.back]
            yield Arrow("recover", _setback(i), STAGES, f"recover: {_way_out(program, setback)}", _by_timer(ways))


def _way_out(program: JourneyProgram, setback: Setback) -> str:
    journey = program.definition
    if setback.until is not None and setback.until != "never":
        return words_of(setback.until)
    if isinstance(setback.when, Unsubscribed) or journey.recover is None:
        return "subscribed again"
    return words_of(journey.recover)


def _advances(program: JourneyProgram) -> Iterator[Arrow]:
    journey = program.definition
    for i, stage in enumerate(journey.stages[1:], start=1):
        yield Arrow("advance", _stage(i - 1), _stage(i), words_of(stage.when), _stage_timer(program, i))
    for i, setback in enumerate(journey.setbacks):
        above = min((program.rank[name] for name in setback.sources), default=len(journey.stages)) + 1
        if setback.until != "never" and above < len(journey.stages):
            yield Arrow("advance", _setback(i), STAGES, "advance: a higher stage")


def _entries(program: JourneyProgram) -> Iterator[Arrow]:
    journey = program.definition
    yield Arrow("enter", START, _stage(0), words_of(journey.stages[0].when), _stage_timer(program, 0))
    if journey.enter == "any":
        for i in range(1, len(journey.stages)):
            yield Arrow("enter", START, _stage(i), "enter", _stage_timer(program, i))


def _returns(program: JourneyProgram) -> Iterator[Arrow]:
    journey = program.definition
    reenter = journey.reenter
    if reenter is None or reenter.after is None:
        return
    label = f"reenter, {duration_text(reenter.after)} later" if reenter.after else "reenter"
    names = [exit_.name for exit_ in journey.exits] + ([CONSENT_EXIT] if journey.consent is not None else [])
    for i, name in enumerate(names):
        if name not in reenter.never_after:
            yield Arrow("reenter", _exit(i), STAGES if journey.enter == "any" else _stage(0), label)


def _stalls(program: JourneyProgram) -> Iterator[Arrow]:
    for i, stage in enumerate(program.stages):
        if stage.stalls_after is not None:
            yield Arrow("stall", _stage(i), _stage(i), f"stall after {duration_text(stage.stalls_after)}", timer=True)


_DRAWERS: MappingProxyType[str, Callable[[JourneyProgram], Iterator[Arrow]]] = MappingProxyType(
    {
        "exit": _exits,
        "setback": _setbacks,
        "recover": _recoveries,
        "advance": _advances,
        "enter": _entries,
        "reenter": _returns,
        "stall": _stalls,
    }
)


def _stage_timer(program: JourneyProgram, place: int) -> bool:
    return _by_timer(leaf for leaf in program.leaves.values() if place in leaf.stages)


def _by_timer(touching: Iterator[Leaf] | list[Leaf]) -> bool:
    """Whether every leaf that can bring a move about is a timer."""
    kinds = [leaf.kind for leaf in touching]
    return bool(kinds) and all(kinds)


# Mermaid

_SHAPES = {"start": ('(["', '"])'), "stage": ('["', '"]'), "setback": ('{{"', '"}}'), "exit": ('(["', '"])')}
_STYLES = {
    "stage": "fill:#e8f1fb,stroke:#2a6db0,color:#111",
    "setback": "fill:#fdf1dc,stroke:#b9770e,color:#111",
    "exit": "fill:#f2f2f2,stroke:#777,color:#111",
    "link": "fill:#fff,stroke:#aaa,stroke-dasharray:3,color:#111",
}
_FRAMES = {
    RUN: "a run",
    STAGES: "stages: up, and may skip",
    BELOW: "before the goal",
    SETBACKS: "setbacks, mildest first",
}


def mermaid(graph: Graph) -> str:
    """The text of a Mermaid flowchart. Dotted arrows are timers."""
    title = f", {_text(graph.title)}" if graph.title else ""
    lines = ["flowchart TD", f"  %% {graph.journey}{title}, version {graph.version}; dotted: by a timer"]
    by_kind: dict[str, list[Node]] = {}
    for node in graph.nodes:
        by_kind.setdefault(node.kind, []).append(node)
    lines += [_node(node, "  ") for node in by_kind["start"]]
    stages = [_node(node, "      ") for node in by_kind["stage"]]
    if any(arrow.source == BELOW for arrow in graph.arrows):
        goal = next(i for i, node in enumerate(by_kind["stage"]) if node.note)
        stages = _frame(BELOW, [f"  {line}" for line in stages[:goal]], "      ") + stages[goal:]
    setbacks = _frame(SETBACKS, [_node(node, "      ") for node in by_kind.get("setback", [])], "    ")
    lines += _frame(RUN, _frame(STAGES, stages, "    ") + setbacks, "  ")
    lines += [_node(node, "  ") for node in by_kind.get("exit", [])]
    lines += _frame("links", [_node(node, "    ") for node in by_kind.get("link", [])], "  ")
    for arrow in graph.arrows:
        line = "-.->" if arrow.timer else "-->"
        lines.append(f'  {arrow.source} {line}|"{_text(arrow.label)}"| {arrow.target}')
    for kind, style in _STYLES.items():
        if kind in by_kind:
            lines.append(f"  classDef {kind} {style}")
            lines.append(f"  class {','.join(node.id for node in by_kind[kind])} {kind}")
    return "\n".join(lines) + "\n"


def _frame(id_: str, inside: list[str], indent: str) -> list[str]:
    return [f'{indent}subgraph {id_}["{_FRAMES.get(id_, id_)}"]', *inside, f"{indent}end"] if inside else []


def _node(node: Node, indent: str) -> str:
    before, after = _SHAPES.get(node.kind, ('["', '"]'))
    note = f"<br>{_text(node.note)}" if node.note else ""
    return f"{indent}{node.id}{before}{_text(node.name)}{note}{after}"


def _text(text: str | None) -> str:
    """A text inside quotes: what Mermaid or a browser would read as markup becomes an entity code."""
    escaped = []
    for char in text or "":
        if char.isalnum() or char in " .,:/_-=()!?+":
            escaped.append(char)
        elif char.isprintable():
            escaped.append(f"#{ord(char)};")
        else:
            escaped.append(" ")
    return "".join(escaped)
