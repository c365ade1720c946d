"""Whom a click is taken for, told afterwards from the contact's state: for those who explain.

May not contain: the judgement itself (``machines.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stagepost.events import Event, rfc3339
from stagepost.journey import machines, sends
from stagepost.journey.compile import JourneyProgram
from stagepost.journey.durations import duration_text
from stagepost.journey.state import ContactState, Lens, SendAt


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a click does not count, or not yet. ``words`` goes on after "it"."""

    kind: Literal["machine", "held"]
    words: str


Judged = Callable[[Event, int], Verdict | None]
"""(event, its time) -> why it does not count; None: a person's, or no click of unknown origin at all."""


def unjudged(event: Event, at: int) -> None:
    """A Judged for those who know no state."""


def verdict_of(journey: JourneyProgram, state: ContactState, event: Event, at: int) -> Verdict | None:
    """See Judged. From what the state remembers: of a click long ago, whose evidence is gone, nothing is said."""
    if event.type != "email.clicked" or event.machine is not None:
        return None
    lens = state.lenses.get(journey.lens) or Lens()
    due = next((click.due for click in lens.held if click.id == event.id), None)
    if due is not None:
        return Verdict("held", f"waits until {rfc3339(due)} for the verdict whether a person made it")
    bots, send = journey.definition.bots, sends.named(event)
    # One that counted as a person's stays so, whatever came after it.
    if bots is None or SendAt(at, send.campaign, send.message) in lens.clicks:
        return None
    if machines.judge(state, bots, send, at) == machines.MACHINE:
        delivered = sends.delivered_at(state, send, at)
        if delivered is not None and at - delivered <= bots.instant:
            return Verdict("machine", f"is judged a machine's: within {duration_text(bots.instant)} after its delivery")
        links, span = bots.burst_urls, duration_text(bots.burst_within)
        return Verdict("machine", f"is judged a machine's: {links} links of its message within {span}")
    return None
