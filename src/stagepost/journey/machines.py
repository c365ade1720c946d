"""Was it a person? Judges clicks whose provider does not say, per contact and message (journeys.md 2, Machines).

``instant``: within 2 s after the message's delivery. ``burst``: some span of 10 s around the click holds 3 distinct
URLs of the message, all of unknown origin. A click near its delivery is held, because the rest of a burst may be on
its way. Ends are included. May not contain: what a human click does.

The functions here change the ContactState they are given: the caller hands in its own copy (``state.py``).
"""

from __future__ import annotations

from stagepost.journey.definition import Bots
from stagepost.journey.sends import Named, delivered_at
from stagepost.journey.state import ContactState, number

HUMAN = -1
MACHINE = -2


def remember(state: ContactState, send: Named, url: str | None, at: int, keep: int) -> None:
    """Note a click of unknown origin as evidence; ``keep``: how many are kept, the newest by their own times."""
    if send.message is None or not send.key or not url:
        return
    clicks = (*state.null_clicks, (at, send.key, number(url)))
    if len(clicks) > 1 and clicks[-1] < clicks[-2]:
        clicks = tuple(sorted(clicks))
    state.null_clicks = clicks[-keep:]


def judge(state: ContactState, bots: Bots | None, send: Named, at: int) -> int:
    """``HUMAN``, ``MACHINE``, or until when the click must be held, be that over already: then it acts with the next
    step, in its turn among the timers. The click itself is already remembered."""
    if bots is None:
        return HUMAN
    delivered = delivered_at(state, send, at)
    if delivered is None:
        return HUMAN
    if at - delivered <= bots.instant or in_burst(state, bots, send, at):
        return MACHINE
    return at + bots.hold if at - delivered <= bots.near else HUMAN


def in_burst(state: ContactState, bots: Bots, send: Named, at: int) -> bool:
    """Whether some span of ``burst_within`` that holds ``at`` holds enough distinct URLs of the message."""
    if send.message is None or len(state.null_clicks) < bots.burst_urls:
        return False
    key, span = send.key, bots.burst_within
    near = [(time, url) for time, of, url in state.null_clicks if of == key and at - span <= time <= at + span]
    return len(near) >= bots.burst_urls and any(
        len({url for time, url in near if start <= time <= start + span}) >= bots.burst_urls
        for start in (at, *(time for time, _ in near if time < at))
    )
