"""What one step of a contact returns: values with reasons, never exceptions."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from stagepost.events import Transition
from stagepost.journey.state import ContactState


class Outcome(StrEnum):
    """The one accounting class of an event in the journey worker (design.md 6)."""

    __hash__ = str.__hash__  # that of Enum is a function in Python, and every event is counted under its outcome

    APPLIED = "applied"
    LATE = "late"
    DUPLICATE = "duplicate"
    SUPPRESSED = "suppressed"
    """The contact was erased; a late event must not bring it back."""
    TEST = "test"


class Count(Struct, frozen=True, gc=False):
    """One more of ``metric`` (design.md 3.4, ``sends.py``) at event time ``at`` (micros), for the scopes of its send.

    ``campaign`` and ``message`` name the send that it belongs to; for a held click they differ from the event at hand.
    """

    metric: str
    at: int
    campaign: str | None
    message: str | None


class Step(Struct, frozen=True, gc=False):
    """Result of one step. ``state`` is new wherever it differs from the given one; the given one is never changed.

    ``state`` None: nothing is kept of the contact (erased, or never known). ``gc=False`` (0.15 us) is safe: records,
    states and counts cannot refer back.
    """

    state: ContactState | None
    moves: tuple[Transition, ...]
    counts: tuple[Count, ...]
    outcome: Outcome | None
    """None for a tick."""
    refused: tuple[str, ...] = ()
    """Journeys that refused the event for lack of consent."""
    erased: tuple[str, ...] = ()
    """Journeys whose published membership must be deleted: the contact was erased."""
