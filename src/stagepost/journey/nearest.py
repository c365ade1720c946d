"""What came near a condition that does not hold: the newest event of its kind that did not match, and why it did not.

For those who explain; the engine knows nothing of it. May not contain: what a condition has counted (``explain.py``).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from stagepost.events import CONTACT_TYPES, EMAIL_TYPES, Event
from stagepost.journey import definition as d
from stagepost.journey.compile import ALWAYS_ACT, ENGAGEMENT, SUBSCRIPTIONS
from stagepost.journey.links import LinkSet
from stagepost.journey.register import compile_scopes, scope_of
from stagepost.journey.verdict import Judged, unjudged
from stagepost.journey.where import compile_glob, compile_globs, compile_where, lookup
from stagepost.journey.wording import scope_words, words_of_test

_SHOWN = 60
"""Characters of a value that are shown: enough to see the slip, not enough for a body."""

_ALIKE = 0.8
"""From which likeness on another event type counts as meant: a letter or an ending."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Events of one contact with their times, in the order in which they came.

    ``whole`` False: only type, campaign and URL are known of them, as records of moves have it.
    """

    events: Sequence[tuple[Event, int]] = ()
    whole: bool = True


NOTHING = Seen()


@dataclass(frozen=True, slots=True)
class Near:
    """An event that a condition did not take. ``tried``: names and patterns of the links that its URL is not under."""

    at: int
    type: str
    campaign: str | None
    url: str | None
    """Without its query, which carries tokens of people."""
    why: str
    tried: tuple[str, ...] = ()


def nearest(
    journey: d.Journey, condition: d.Condition, seen: Seen, since: int, judged: Judged = unjudged
) -> Near | None:
    """The newest event from ``since`` on that is of the kind of ``condition`` and does not match; None: there is none,
    or why cannot be told. Held clicks, which have yet to count, are passed over."""
    types = _types(condition)
    groups: set[str] = set()
    found: Near | None = None
    for event, at in seen.events:
        if at < since or event.type not in types:
            continue
        verdict = judged(event, at)
        if verdict is not None and verdict.kind == "held":
            continue
        if verdict is not None:
            why, tried = f"it {verdict.words}", tuple[str, ...]()
        else:
            why, tried = _why_not(journey, condition, event, seen.whole)
            why = why or _not_another(condition, event, groups)
        if why:
            found = _near(event, at, why, tried)
    if found is not None:
        return found
    if isinstance(condition, d.EventIs) and not any(event.type == condition.type for event, _ in seen.events):
        return _other_type(condition.type, seen, since)
    return None


def touched(journey: d.Journey, url: str | None) -> tuple[d.Link, ...]:
    """The links of a journey that a URL is under, with what they mean; ``means`` labels the touchpoint."""
    return tuple(link for link in journey.links if url and LinkSet([link.pattern]).match(url))


def _near(event: Event, at: int, why: str, tried: tuple[str, ...] = ()) -> Near:
    url = event.url.partition("?")[0] if event.url else None
    return Near(at, event.type, event.campaign, url, why, tried)


def _other_type(wanted: str, seen: Seen, since: int) -> Near | None:
    """An activity that only its spelling keeps away."""
    types = {event.type: (event, at) for event, at in seen.events if at >= since}
    names = [type_ for type_ in types if type_ not in EMAIL_TYPES and type_ not in CONTACT_TYPES]
    alike = difflib.get_close_matches(wanted, names, n=1, cutoff=_ALIKE)
    return _near(*types[alike[0]], f"its type is not {wanted}") if alike else None


def _types(condition: d.Condition) -> tuple[str, ...]:
    if isinstance(condition, d.EventIs):
        return (condition.type,)
    if isinstance(condition, d.Clicked):
        return ("email.clicked",)
    if isinstance(condition, d.Opened):
        return ("email.opened",)
    if isinstance(condition, d.Subscribed):
        return SUBSCRIPTIONS
    if isinstance(condition, d.Unsubscribed):
        return ("email.unsubscribed",)
    if isinstance(condition, d.NoClick):
        return (f"email.{condition.count}",)
    return ()


def _why_not(journey: d.Journey, condition: d.Condition, event: Event, whole: bool) -> tuple[str, tuple[str, ...]]:
    """The first test that the event does not pass, in words; empty when it passes all that can be told."""
    why = _not_taken(event)
    if why:
        return why, ()
    if isinstance(condition, d.NoClick):
        return _no_send(journey, event), ()
    if isinstance(condition, d.Clicked):
        why, tried = _other_link(journey, condition, event)
        if why:
            return why, tried
    if isinstance(condition, d.Subscribed | d.Unsubscribed) and not compile_scopes(condition.scopes)(*scope_of(event)):
        return f"its scope is {_scope(event)}, not {scope_words(condition.scopes)}", ()
    if isinstance(condition, d.EventIs | d.Clicked | d.Opened | d.Subscribed):
        return _other_fields(condition, event, whole), ()
    return "", ()


def _not_another(condition: d.Condition, event: Event, groups: set[str]) -> str:
    """Why an event that matches is no further one for ``per: campaign``; ``groups``: those that count, with its own
    added."""
    if (
        not isinstance(condition, d.EventIs | d.Clicked | d.Opened | d.Subscribed)
        or not condition.counting.per_campaign
    ):
        return ""
    group = event.campaign or event.message
    if group is None:
        return "it has neither campaign nor message, and per: campaign counts these"
    if group in groups:
        return f"{'campaign' if event.campaign else 'message'} {group} counts already, once per: campaign"
    groups.add(group)
    return ""


def _not_taken(event: Event) -> str:
    """What satisfies no condition (journeys.md 1, 2)."""
    if event.test:
        return "a test event"
    if event.machine is True and event.type not in ALWAYS_ACT and event.type not in CONTACT_TYPES:
        return "a machine made it"
    if event.type in ENGAGEMENT and event.recipient_certainty not in (UNSET, "exact"):
        return "it is not certain who made it"
    if event.type in ENGAGEMENT and event.variant is not UNSET:
        return "it is a second report"
    return ""


def _no_send(journey: d.Journey, event: Event) -> str:
    if not journey.sends:
        return "" if event.campaign or event.message else "it names neither campaign nor message"
    if event.campaign is None or not compile_globs(journey.sends)(event.campaign):
        return f"its campaign is none of sends: {', '.join(journey.sends)}"
    return ""


def _other_link(journey: d.Journey, condition: d.Clicked, event: Event) -> tuple[str, tuple[str, ...]]:
    url = event.url or ""
    if condition.links is None:
        for link in journey.links:
            if link.means == "disengagement" and LinkSet([link.pattern]).match(url):
                return f"link {link.name} means disengagement, which any leaves out", ()
        return "", ()
    tried = [link for link in journey.links if link.name in condition.links]
    if LinkSet([link.pattern for link in tried]).match(url):
        return "", ()
    why = "its URL is under none of the links" if url else "it has no URL"
    return why, tuple(f"{link.name} {link.pattern}" for link in tried)


def _other_fields(condition: d.EventIs | d.Clicked | d.Opened | d.Subscribed, event: Event, whole: bool) -> str:
    wanted = condition.campaign if condition.after_send is None else None
    if wanted is not None and (event.campaign is None or not compile_glob(wanted)(event.campaign)):
        return f"its campaign is not {wanted}" if event.campaign else f"it has no campaign, so not {wanted}"
    for test in condition.where if whole else ():
        passes = compile_where((test,))
        if passes is not None and not passes(event):
            return f"{test.path} is {_shown(lookup(event, test.path))}, asked for is {words_of_test(test)}"
    return ""


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _scope(event: Event) -> str:
    scope, id_ = scope_of(event)
    return f"{scope}:{id_}" if id_ else scope
