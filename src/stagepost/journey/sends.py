"""The contact's sends: what became of each, and what that adds to the metrics (names of design.md 3.4).

Raw counts take every event. Uniques count a contact once per send, in the window of the first, when the flag of the
send flips; that is exact because the contact owns its sends. ``X.by_send`` has the time of the send's delivery
(providers count by send day), ``X.by_send.unknown`` that of the event, for sends that were never heard of.
May not contain: thresholds, rates, rules of a journey.

The functions here change the ContactState they are given: the caller hands in its own copy (``state.py``).
"""

from __future__ import annotations

from msgspec import UNSET

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

BOUNCE_CLASSES = frozenset({"hard", "soft", "block"})
NAME_LIMIT = 256
"""Characters of a campaign or message id; longer ones count as absent (providers.md 5.3)."""


def named(event: Event) -> tuple[str | None, str | None]:
    """Campaign and message of an event, each None when absent, empty or too long to be one."""
    campaign, message = event.campaign, event.message
    if campaign is not None and not 0 < len(campaign) <= NAME_LIMIT:
        campaign = None
    if message is not None and not 0 < len(message) <= NAME_LIMIT:
        message = None
    return campaign, message


def last_delivery(state: ContactState, at: int) -> tuple[int, str | None] | None:
    """Time and campaign of the newest send delivered at ``at`` or before."""
    last = state.last_send
    if last is None:
        return None
    if last.at <= at:
        return last.at, last.campaign
    delivered = [send for send in state.sends.values() if send.flags & DELIVERED]
    earlier = [(time, send.campaign) for send in delivered for time in (send.at, send.again) if 0 < time <= at]
    return max(earlier, key=lambda send: send[0]) if earlier else None


def delivered_at(state: ContactState, message: str | None, at: int) -> int | None:
    """When the message was last delivered before ``at`` or exactly then, if that is known."""
    if message is None:
        return None
    send = state.sends.get(send_key(None, message))
    if send is None or not send.flags & DELIVERED:
        return None
    return max((time for time in (send.at, send.again) if 0 < time <= at), default=None)


def record(
    state: ContactState, event: Event, campaign: str | None, message: str | None, at: int, counts: list[Count]
) -> None:
    """Record an ``email.*`` event on its send, and count it. Clicks by people are counted apart."""
    kind = event.type[6:]
    if kind == "clicked":
        if event.variant is UNSET:
            counts.append(Count("clicked", at, campaign, message))
        if _set(state, campaign, message, at, CLICKED | MACHINE if event.machine else CLICKED) & CLICKED:
            counts.append(Count("clicked.unique", at, campaign, message))
    elif kind == "opened":
        human = is_human(event)
        if event.variant is UNSET:
            counts.append(Count("opened", at, campaign, message))
            if human:
                counts.append(Count("opened.human", at, campaign, message))
        flags = OPENED | OPENED_HUMAN if human else OPENED | MACHINE if event.machine else OPENED
        fresh = _set(state, campaign, message, at, flags)
        if fresh & OPENED:
            counts.append(Count("opened.unique", at, campaign, message))
        if fresh & OPENED_HUMAN:
            counts.append(Count("opened.unique.human", at, campaign, message))
    elif kind == "delivered":
        counts.append(Count("delivered", at, campaign, message))
        _delivered(state, campaign, message, at)
    elif kind == "sent":
        counts.append(Count("sent", at, campaign, message))
        _set(state, campaign, message, at, SENT)
    elif kind == "bounced":
        of_class = event.bounce_class if event.bounce_class in BOUNCE_CLASSES else "undetermined"
        counts.append(Count(f"bounced.{of_class}", at, campaign, message))
        if of_class == "hard":
            counts.append(_by_send(state, "bounced", campaign, message, at))
        _set(state, campaign, message, at, BOUNCED)
    elif kind == "complained":
        by_send = _by_send(state, "complained", campaign, message, at)
        if _set(state, campaign, message, at, COMPLAINED) or (campaign is None and message is None):
            counts += (Count("complained", at, campaign, message), by_send)
    elif kind in ("deferred", "dropped"):
        counts.append(Count(kind, at, campaign, message))


def record_withdrawal(
    state: ContactState, event: Event, campaign: str | None, message: str | None, at: int, counts: list[Count]
) -> None:
    """Count a contact that is newly withdrawn. An administrator's is no part of a spike (providers.md 5.2)."""
    _set(state, campaign, message, at, UNSUBSCRIBED)
    counts.append(Count("unsubscribed", at, campaign, message))
    if event.method != "api":
        counts.append(Count("unsubscribed.spike", at, campaign, message))


def record_human_click(
    state: ContactState, campaign: str | None, message: str | None, at: int, counted: bool, counts: list[Count]
) -> None:
    """Count a click that a person made; ``counted`` False: a variant, which adds to no raw count."""
    if counted:
        counts.append(Count("clicked.human", at, campaign, message))
    if _set(state, campaign, message, at, CLICKED_HUMAN):
        counts.append(Count("clicked.unique.human", at, campaign, message))


def mark(state: ContactState, campaign: str | None, message: str | None, at: int, flags: int) -> None:
    """Set flags of a send without counting."""
    _set(state, campaign, message, at, flags)


def is_human(event: Event) -> bool:
    """Not marked as a machine's, and certainly this recipient's (journeys.md 2, Uncertain and double reports)."""
    return event.machine is not True and (event.recipient_certainty is UNSET or event.recipient_certainty == "exact")


def _delivered(state: ContactState, campaign: str | None, message: str | None, at: int) -> None:
    if state.last_send is None or state.last_send.at <= at:
        state.last_send = SendAt(at, campaign, message)
    key = send_key(campaign, message)
    if not key:
        return
    known = state.sends.get(key)
    if known is None:
        _put(state, key, Sent(campaign, at, DELIVERED))
    elif not known.flags & DELIVERED:
        _put(state, key, Sent(campaign or known.campaign, at, known.flags | DELIVERED))
    elif at != known.at:
        first, newest = min(at, known.at), max(at, known.at, known.again)
        _put(state, key, Sent(campaign or known.campaign, first, known.flags, newest))


def _set(state: ContactState, campaign: str | None, message: str | None, at: int, flags: int) -> int:
    """Set flags of a send, perhaps one never heard of; returns those that were not set before."""
    key = send_key(campaign, message)
    if not key:
        return 0
    known = state.sends.get(key)
    if known is None:
        _put(state, key, Sent(campaign, at, flags))
        return flags
    fresh = flags & ~known.flags
    if fresh:
        _put(state, key, Sent(known.campaign, known.at, known.flags | flags, known.again))
    return fresh


def _put(state: ContactState, key: int, send: Sent) -> None:
    sends = {**state.sends, key: send}
    if len(sends) > SENDS:
        del sends[min((other for other in sends if other != key), key=lambda other: sends[other].at)]
    state.sends = sends


def _by_send(state: ContactState, metric: str, campaign: str | None, message: str | None, at: int) -> Count:
    send = state.sends.get(send_key(campaign, message))
    if send is None or not send.flags & (DELIVERED | SENT):
        return Count(f"{metric}.by_send.unknown", at, campaign, message)
    return Count(f"{metric}.by_send", send.at, campaign, message)
