"""The contact's sends: what became of each, and what that adds to the metrics (names of design.md 3.4).

Raw counts take every event. Uniques count a contact once per send, in the window of the first, when the flag of the
send flips; that is exact because the contact owns its sends. ``X.by_send`` has the time of the send's delivery
(providers count by send day), ``X.by_send.unknown`` that of the event, for sends that were never heard of.
May not contain: thresholds, rates, rules of a journey.

The functions here change the ContactState they are given: the caller hands in its own copy (``state.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from zlib import crc32

from msgspec import UNSET, Struct

from stagepost.events import Event
from stagepost.journey.result import Count
from stagepost.journey.state import (
    BOUNCED,
    CLICKED,
    CLICKED_HUMAN,
    COMPLAINED,
    DELIVERED,
    MACHINE,
    OPENED,
    OPENED_HUMAN,
    SENDS,
    SENT,
    UNSUBSCRIBED,
    ContactState,
    SendAt,
    Sent,
    send_key,
)

NEVER = 1 << 63
"""Later than every time."""

BOUNCE_CLASSES = frozenset({"hard", "soft", "block"})
NAME_LIMIT = 256
"""Bytes of a campaign or message id; longer ones count as absent (providers.md 5.3)."""


class Named(Struct, frozen=True, gc=False):
    """The send that an event names. ``key``: its ``send_key``, worked out once for all that asks for it."""

    key: int
    campaign: str | None
    message: str | None


NOTHING = Named(0, None, None)


def named(event: Event) -> Named:
    """The send of an event; a campaign or message is None when it is absent or cannot be one: empty, too long, with a
    NUL."""
    campaign, message = event.campaign, event.message
    if campaign is not None:
        campaign = _campaign(campaign)
    if message is not None:
        if message.isascii() and 0 < len(message) <= NAME_LIMIT and "\x00" not in message:
            # Nearly every message: 0.2 us less than by the general way below.
            return Named(crc32(message.encode()), campaign, message)
        message = _name(message)
    if message is None and campaign is None:
        return NOTHING
    return Named(send_key(campaign, message), campaign, message)


def _name(text: str) -> str | None:
    if not text or "\x00" in text or len(text) > NAME_LIMIT:
        return None
    return text if text.isascii() or len(text.encode()) <= NAME_LIMIT else None


_campaign = lru_cache(maxsize=1024)(_name)
"""A stream is of few campaigns."""


def last_delivery(state: ContactState, at: int) -> tuple[int, str | None] | None:
    """Time and campaign of the newest send delivered at ``at`` or before."""
    last = state.last_send
    if last is None:
        return None
    if last.at <= at:
        return last.at, last.campaign
    delivered = [send for send in state.sends.values() if send.flags & DELIVERED]
    earlier = [(time, send.campaign) for send in delivered for time in (send.at, send.again) if 0 < time <= at]
    return max(reversed(earlier), key=lambda send: send[0]) if earlier else None


def delivered_at(state: ContactState, send: Named, at: int) -> int | None:
    """When the message was last delivered before ``at`` or exactly then, if that is known."""
    if send.message is None:
        return None
    known = state.sends.get(send.key)
    if known is None or not known.flags & DELIVERED:
        return None
    if 0 < known.again <= at:
        return known.again
    return known.at if known.at <= at else None


Recorder = Callable[[ContactState, Event, Named, int, list[Count]], None]
"""(state, event, its send, its time, counts) -> the event recorded on its send, and counted."""


def _record_sent(state: ContactState, event: Event, send: Named, at: int, counts: list[Count]) -> None:
    campaign, key = send.campaign, send.key
    counts.append(Count("sent", at, campaign, send.message))
    if key and key not in state.sends:
        _put(state, state.sends.copy(), key, Sent(campaign, at, SENT))
    else:
        mark(state, send, at, SENT)


def _record_delivered(state: ContactState, event: Event, send: Named, at: int, counts: list[Count]) -> None:
    campaign, message, key = send.campaign, send.message, send.key
    counts.append(Count("delivered", at, campaign, message))
    if state.last_send is None or state.last_send.at <= at:
        state.last_send = SendAt(at, campaign, message)
    # To the end, so that of equal times the last one to arrive is found. Key 0 holds those that name nothing: they may
    # be the last one before an event.
    sends = state.sends.copy()
    known = sends.pop(key, None)
    if known is None:
        now = Sent(campaign, at, DELIVERED)
    elif not known.flags & DELIVERED:
        now = Sent(campaign or known.campaign, at, known.flags | DELIVERED)
    else:
        first, newest = min(at, known.at), max(at, known.at, known.again)
        now = Sent(campaign or known.campaign, first, known.flags, newest if newest > first else 0)
    _put(state, sends, key, now)


def _record_opened(state: ContactState, event: Event, send: Named, at: int, counts: list[Count]) -> None:
    campaign, message = send.campaign, send.message
    human = is_human(event)
    if event.variant is UNSET:
        counts.append(Count("opened", at, campaign, message))
        if human:
            counts.append(Count("opened.human", at, campaign, message))
    fresh = mark(state, send, at, OPENED | OPENED_HUMAN if human else OPENED | MACHINE if event.machine else OPENED)
    if fresh & OPENED:
        counts.append(Count("opened.unique", at, campaign, message))
    if fresh & OPENED_HUMAN:
        counts.append(Count("opened.unique.human", at, campaign, message))


def _record_clicked(state: ContactState, event: Event, send: Named, at: int, counts: list[Count]) -> None:
    """Clicks by people are counted apart, see ``record_human_click``."""
    if event.variant is UNSET:
        counts.append(Count("clicked", at, send.campaign, send.message))
    if mark(state, send, at, CLICKED | MACHINE if event.machine else CLICKED) & CLICKED:
        counts.append(Count("clicked.unique", at, send.campaign, send.message))


def _record_bounced(state: ContactState, event: Event, send: Named, at: int, counts: list[Count]) -> None:
    of_class = event.bounce_class if event.bounce_class in BOUNCE_CLASSES else "undetermined"
    counts.append(Count(f"bounced.{of_class}", at, send.campaign, send.message))
    if of_class == "hard":
        counts.append(_by_send(state, "bounced", send, at))
    mark(state, send, at, BOUNCED)


def _record_complained(state: ContactState, event: Event, send: Named, at: int, counts: list[Count]) -> None:
    by_send = _by_send(state, "complained", send, at)
    if mark(state, send, at, COMPLAINED) or not send.key:
        counts += (Count("complained", at, send.campaign, send.message), by_send)


def _record_deferred(state: ContactState, event: Event, send: Named, at: int, counts: list[Count]) -> None:
    counts.append(Count("deferred", at, send.campaign, send.message))


def _record_dropped(state: ContactState, event: Event, send: Named, at: int, counts: list[Count]) -> None:
    counts.append(Count("dropped", at, send.campaign, send.message))


RECORDERS: dict[str, Recorder] = {
    "email.sent": _record_sent,
    "email.delivered": _record_delivered,
    "email.opened": _record_opened,
    "email.clicked": _record_clicked,
    "email.bounced": _record_bounced,
    "email.complained": _record_complained,
    "email.deferred": _record_deferred,
    "email.dropped": _record_dropped,
}
"""By event type; what is not here leaves no trace on a send by itself."""


def record_withdrawal(state: ContactState, event: Event, send: Named, at: int, counts: list[Count]) -> None:
    """Count a contact that is newly withdrawn. An administrator's is no part of a spike (providers.md 5.2)."""
    mark(state, send, at, UNSUBSCRIBED)
    counts.append(Count("unsubscribed", at, send.campaign, send.message))
    if event.method != "api":
        counts.append(Count("unsubscribed.spike", at, send.campaign, send.message))


def record_human_click(state: ContactState, send: Named, at: int, counted: bool, counts: list[Count]) -> None:
    """Count a click that a person made; ``counted`` False: a variant, which adds to no raw count."""
    if counted:
        counts.append(Count("clicked.human", at, send.campaign, send.message))
    if mark(state, send, at, CLICKED_HUMAN):
        counts.append(Count("clicked.unique.human", at, send.campaign, send.message))


def is_human(event: Event) -> bool:
    """Not marked as a machine's, and certainly this recipient's (journeys.md 2, Uncertain and double reports)."""
    return event.machine is not True and (event.recipient_certainty is UNSET or event.recipient_certainty == "exact")


def mark(state: ContactState, send: Named, at: int, flags: int) -> int:
    """Set flags of a send, perhaps one never heard of; returns those that were not set before."""
    key = send.key
    if not key:
        return 0
    known = state.sends.get(key)
    if known is None:
        _put(state, state.sends.copy(), key, Sent(send.campaign, at, flags))
        return flags
    fresh = flags & ~known.flags
    if fresh:
        _put(state, state.sends.copy(), key, Sent(known.campaign, known.at, known.flags | flags, known.again))
    return fresh


def _put(state: ContactState, sends: dict[int, Sent], key: int, send: Sent) -> None:
    """Keep a send among ``sends``, a copy of the contact's."""
    sends[key] = send
    if len(sends) > SENDS:
        del sends[_oldest(sends, key)]
    state.sends = sends


def _oldest(sends: dict[int, Sent], but: int) -> int:
    """Key of the oldest send, another than ``but``. A plain loop takes a third of the time of ``min`` with a key."""
    oldest, at = but, NEVER
    for key, send in sends.items():
        if send.at < at and key != but:
            oldest, at = key, send.at
    return oldest


def _by_send(state: ContactState, metric: str, send: Named, at: int) -> Count:
    known = state.sends.get(send.key) if send.key else None
    if known is None or not known.flags & (DELIVERED | SENT):
        return Count(f"{metric}.by_send.unknown", at, send.campaign, send.message)
    return Count(f"{metric}.by_send", known.at, send.campaign, send.message)
