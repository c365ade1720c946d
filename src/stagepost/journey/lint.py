"""Warnings about a journey that can be read but will hardly do what is meant (journeys.md 5, validate)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from stagepost.events import CONTACT_TYPES, EMAIL_TYPES
from stagepost.journey import problems as p
from stagepost.journey.definition import (
    AllOf,
    AnyOf,
    Clicked,
    Condition,
    Counting,
    EventIs,
    Exit,
    Journey,
    Missed,
    NoClick,
    Not,
    Opened,
    Position,
    Quiet,
    ScopePattern,
    Setback,
    Stage,
    Subscribed,
    Unsubscribed,
)
from stagepost.journey.durations import duration_text
from stagepost.journey.problems import Problem

Positions = Mapping[int, Position]
"""Where the conditions of a file stand, by identity; what is not in it stands where its rule does."""


def lint(journey: Journey, source: str, positions: Positions) -> list[Problem]:
    """All warnings, in no order."""
    return [
        *_unreachable(journey, source),
        *_shadowed(journey, source),
        *_long_grace(journey, source, positions),
        *_opens(journey, source, positions),
        *_nearly_all(journey, source, positions),
        *_strange_types(journey, source, positions),
        *_uncounted(journey, source, positions),
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
    if isinstance(a, Opened) and isinstance(b, Opened):
        return _stricter(a, b)
    if isinstance(a, Subscribed) and isinstance(b, Subscribed):
        return _narrower_scopes(a.scopes, b.scopes) and _stricter(a, b)
    if isinstance(a, Unsubscribed) and isinstance(b, Unsubscribed):
        same_send = b.after_send is None or (a.after_send, a.campaign) == (b.after_send, b.campaign)
        return _narrower_scopes(a.scopes, b.scopes) and same_send
    return False


def _narrower_links(a: Clicked, b: Clicked, disengaging: frozenset[str]) -> bool:
    if b.links is None:
        return a.links is None or not disengaging.intersection(a.links)
    return a.links is not None and set(a.links) <= set(b.links)


def _narrower_scopes(a: ScopePattern, b: ScopePattern) -> bool:
    return a == b or b.reach == "any"


def _stricter(a: Clicked | EventIs | Opened | Subscribed, b: Clicked | EventIs | Opened | Subscribed) -> bool:
    return _counts_more(a.counting, b.counting) and _same_send(a, b) and set(b.where) <= set(a.where)


def _same_send(a: Clicked | EventIs | Opened | Subscribed, b: Clicked | EventIs | Opened | Subscribed) -> bool:
    """``campaign`` names the event's own send, or with ``after_send`` the last one delivered: two different tests."""
    if a.after_send is None or b.after_send is None:
        own = (None, a.campaign) if a.after_send is None else (None,)
        return b.after_send is None and b.campaign in own
    return a.after_send <= b.after_send and b.campaign in (None, a.campaign)


def _counts_more(a: Counting, b: Counting) -> bool:
    """Whether as many events as ``a`` asks for, as close together, are what ``b`` asks for too."""
    if b.per_campaign and not a.per_campaign:
        return False  # events of one campaign count once there, those without campaign and message not at all
    closer = b.within is None or (a.within is not None and a.within <= b.within)
    return a.times >= b.times and (closer or b.times == 1)


def _unreachable(journey: Journey, source: str) -> Iterator[Problem]:
    disengaging = _disengaging(journey)
    for place, stage in enumerate(journey.stages):
        if place == 0 and journey.enter == "first":
            continue  # there every contact begins, whatever else holds
        higher = next((s for s in journey.stages[place + 1 :] if implies(stage.when, s.when, disengaging)), None)
        if higher is not None:
            message = (
                f"whatever reaches {stage.name} reaches {higher.name} at the same event: put {higher.name} first, or "
                "narrow its condition"
            )
            yield Problem(source, stage.position, p.UNREACHABLE, message)


def _shadowed(journey: Journey, source: str) -> Iterator[Problem]:
    disengaging = _disengaging(journey)
    who = "only contacts without a run get there" if journey.enter == "any" else "nobody gets there"
    for stage in journey.stages[1:]:  # the first one is there to enter at, and exits are tried in a run only
        exit_ = next((e for e in journey.exits if implies(stage.when, e.when, disengaging)), None)
        if exit_ is not None:
            message = f"exit {exit_.name} holds whenever {stage.name} does, and is tried first: {who}"
            yield Problem(source, stage.position, p.SHADOWED, message)


def _disengaging(journey: Journey) -> frozenset[str]:
    return frozenset(link.name for link in journey.links if link.means == "disengagement")


def _long_grace(journey: Journey, source: str, positions: Positions) -> Iterator[Problem]:
    places: list[Setback | Exit] = [*journey.setbacks, *journey.exits]
    spans = [leaf.span for place in places for leaf in leaves(place.when) if isinstance(leaf, Quiet)]
    if not spans:
        return
    for place in places:
        for leaf in leaves(place.when):
            if isinstance(leaf, NoClick) and leaf.grace > min(spans):
                message = (
                    f"grace {duration_text(leaf.grace)} is longer than quiet {duration_text(min(spans))}, which comes "
                    "first: shorten grace"
                )
                yield Problem(source, positions.get(id(leaf), place.position), p.LONG_GRACE, message)


def _opens(journey: Journey, source: str, positions: Positions) -> Iterator[Problem]:
    for name, leaf, position in _placed_leaves(journey, positions):
        by_event = isinstance(leaf, EventIs) and leaf.type == "email.opened"
        if by_event or isinstance(leaf, Opened) or (isinstance(leaf, Quiet) and leaf.opens):
            yield Problem(source, position, p.OPENS, f"{name} relies on opens: prefer clicks")


def _nearly_all(journey: Journey, source: str, positions: Positions) -> Iterator[Problem]:
    for name, leaf, position in _placed_leaves(journey, positions):
        if isinstance(leaf, Subscribed | Unsubscribed) and leaf.scopes.scope is None and leaf.scopes.id is not None:
            near = get_close_matches(leaf.scopes.id.lower(), ("all", "any"), n=1, cutoff=0.75)
            if near:
                message = (
                    f"{name} means the list or group with the id {leaf.scopes.id!r} (did you mean {near[0]}? for such "
                    f"an id write {{scope: list, id: {leaf.scopes.id}}})"
                )
                yield Problem(source, position, p.NEARLY_ALL, message)


def _strange_types(journey: Journey, source: str, positions: Positions) -> Iterator[Problem]:
    known = EMAIL_TYPES | CONTACT_TYPES
    for name, leaf, position in _placed_leaves(journey, positions):
        if isinstance(leaf, EventIs) and leaf.type.startswith(("email.", "contact.")) and leaf.type not in known:
            near = get_close_matches(leaf.type, sorted(known), n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            yield Problem(source, position, p.STRANGE_TYPE, f"{name}: no provider reports {leaf.type!r}{meant}")


def _uncounted(journey: Journey, source: str, positions: Positions) -> Iterator[Problem]:
    for name, condition, place in rules(journey):
        for leaf in _own(condition):
            if isinstance(leaf, EventIs | Clicked | Opened | Subscribed) and leaf.counting.times == 1:
                found = {"within": leaf.counting.within, "per": leaf.counting.per_campaign or None}
                idle = " and ".join(key for key, value in found.items() if value is not None)
                if idle:
                    message = f"{name}: {idle} without times changes nothing, one event is enough: add times"
                    yield Problem(source, positions.get(id(leaf)) or place or Position(1, 1), p.NO_EFFECT, message)


def _own(condition: Condition) -> Iterator[Condition]:
    """The leaves that act alone: of parts of an ``all``, ``within`` says how long ago they may have held."""
    if isinstance(condition, AnyOf):
        for part in condition.parts:
            yield from _own(part)
    elif not isinstance(condition, AllOf):
        yield condition


def _placed_leaves(journey: Journey, positions: Positions) -> Iterator[tuple[str, Condition, Position]]:
    """Every leaf with the name of its rule and where it stands."""
    for name, condition, position in rules(journey):
        for leaf in leaves(condition):
            yield name, leaf, positions.get(id(leaf)) or position or Position(1, 1)


def rules(journey: Journey) -> Iterator[tuple[str, Condition, Position | None]]:
    """The condition of every rule, with its name and where it stands; ``recover`` stands in no list, hence None."""
    places: list[Stage | Setback | Exit] = [*journey.stages, *journey.setbacks, *journey.exits]
    for place in places:
        yield place.name, place.when, place.position
    for setback in journey.setbacks:
        if setback.until is not None and setback.until != "never":
            yield f"until of {setback.name}", setback.until, setback.position
    if journey.recover is not None:
        yield "recover", journey.recover, None
