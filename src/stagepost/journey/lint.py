"""Warnings about a journey that can be read but will hardly do what is meant (journeys.md 5, validate)."""

from __future__ import annotations

from collections.abc import Iterator

from stagepost.journey import problems as p
from stagepost.journey.definition import (
    AllOf,
    AnyOf,
    Clicked,
    Condition,
    EventIs,
    Exit,
    Journey,
    Missed,
    NoClick,
    Not,
    Opened,
    Quiet,
    Setback,
    Stage,
)
from stagepost.journey.durations import duration_text
from stagepost.journey.problems import Problem


def lint(journey: Journey, source: str) -> list[Problem]:
    """All warnings, in no order."""
    return [
        *_unreachable(journey, source),
        *_shadowed(journey, source),
        *_long_grace(journey, source),
        *_opens(journey, source),
    ]


def leaves(condition: Condition) -> Iterator[Condition]:
    """The conditions at the ends of a tree, those under ``not`` and inside ``missed`` included."""
    if isinstance(condition, AnyOf | AllOf):
        for part in condition.parts:
            yield from leaves(part)
    elif isinstance(condition, Not):
        yield from leaves(condition.part)
    elif isinstance(condition, Missed):
        yield condition
        yield from leaves(condition.first)
        yield from leaves(condition.then)
    else:
        yield condition


def implies(a: Condition, b: Condition, disengaging: frozenset[str] = frozenset()) -> bool:
    """Whether ``b`` surely holds at every event at which ``a`` does; False where that is not known.

    ``disengaging``: links with ``means: disengagement``, which ``clicked: any`` leaves out.
    """
    if a == b:
        return True
    if isinstance(a, AnyOf):
        return all(implies(part, b, disengaging) for part in a.parts)
    if isinstance(b, AllOf):
        return all(implies(a, part, disengaging) for part in b.parts)
    if isinstance(b, AnyOf):
        return any(implies(a, part, disengaging) for part in b.parts)
    if isinstance(a, AllOf):
        return any(implies(part, b, disengaging) for part in a.parts)
    if isinstance(a, Clicked) and isinstance(b, Clicked):
        return _narrower_links(a, b, disengaging) and _stricter(a, b)
    if isinstance(a, EventIs) and isinstance(b, EventIs):
        return a.type == b.type and _stricter(a, b)
    return False


def _narrower_links(a: Clicked, b: Clicked, disengaging: frozenset[str]) -> bool:
    if b.links is None:
        return a.links is None or not disengaging.intersection(a.links)
    return a.links is not None and set(a.links) <= set(b.links)


def _stricter(a: Clicked | EventIs, b: Clicked | EventIs) -> bool:
    plain = b.counting.times == 1 and b.counting.within is None and not b.counting.per_campaign
    same_count = a.counting == b.counting or plain
    same_send = b.campaign in (None, a.campaign) and b.after_send in (None, a.after_send)
    return same_count and same_send and set(b.where) <= set(a.where)


def _unreachable(journey: Journey, source: str) -> Iterator[Problem]:
    disengaging = frozenset(link.name for link in journey.links if link.means == "disengagement")
    for place, stage in enumerate(journey.stages):
        higher = next((s for s in journey.stages[place + 1 :] if implies(stage.when, s.when, disengaging)), None)
        if higher is not None:
            message = f"whatever reaches {stage.name} reaches {higher.name} at the same event"
            yield Problem(source, stage.position, p.UNREACHABLE, message)


def _shadowed(journey: Journey, source: str) -> Iterator[Problem]:
    for stage in journey.stages:
        exit_ = next((e for e in journey.exits if implies(stage.when, e.when)), None)
        if exit_ is not None:
            message = f"exit {exit_.name} holds whenever {stage.name} does, and is tried first"
            yield Problem(source, stage.position, p.SHADOWED, message)


def _long_grace(journey: Journey, source: str) -> Iterator[Problem]:
    spans = [leaf.span for place in journey.setbacks for leaf in leaves(place.when) if isinstance(leaf, Quiet)]
    if not spans:
        return
    for place in journey.setbacks:
        for leaf in leaves(place.when):
            if isinstance(leaf, NoClick) and leaf.grace > min(spans):
                message = f"grace {duration_text(leaf.grace)} is longer than quiet {duration_text(min(spans))}"
                yield Problem(source, place.position, p.LONG_GRACE, message)


def _opens(journey: Journey, source: str) -> Iterator[Problem]:
    places: list[Stage | Setback | Exit] = [*journey.stages, *journey.setbacks, *journey.exits]
    for place in places:
        if any(isinstance(leaf, Opened) or (isinstance(leaf, Quiet) and leaf.opens) for leaf in leaves(place.when)):
            yield Problem(source, place.position, p.OPENS, f"{place.name} relies on opens: prefer clicks")
