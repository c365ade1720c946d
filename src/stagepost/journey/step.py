"""The one step that moves a contact."""

from __future__ import annotations

from stagepost.events import Event, Membership
from stagepost.journey.compile import Program
from stagepost.journey.result import Outcome, Step
from stagepost.journey.state import ContactState, next_due

__all__ = ["memberships", "next_due", "step_event", "step_tick"]


def step_event(program: Program, state: ContactState | None, event: Event, at: int, clock: int) -> Step:
    """Apply one event."""
    if event.test:
        return Step(state, (), (), Outcome.TEST)
    return Step(state or ContactState(), (), (), Outcome.APPLIED)


def step_tick(program: Program, contact: str, state: ContactState) -> Step:
    """Fire the contact's first timer."""
    return Step(state, (), (), None)


def memberships(program: Program, contact: str, step: Step) -> tuple[Membership, ...]:
    """Where the contact is in each journey that it moved in."""
    return ()
