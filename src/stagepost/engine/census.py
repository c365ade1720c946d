"""How many contacts of a partition stand in which stage: counted once over all of them, then kept up move by move.

Law: while ``complete`` is false the numbers say nothing; from then on they are what a recount would give. Contacts
whose journey has ended stand nowhere. May not contain: how contacts are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from stagepost.journey.state import ACTIVE, ContactState

Stand = tuple[str, str]
"""Journey, and the stage or setback there."""


class Census:
    """Of one partition. ``known`` false: there may be contacts that were never told of here."""

    def __init__(self, known: bool) -> None:
        self.contacts: Counter[Stand] = Counter()
        self.stalled: Counter[Stand] = Counter()
        self._counted: set[str] | None = None if known else set()
        """Whom ``found`` has to pass over; None: everybody is counted."""

    @property
    def complete(self) -> bool:
        return self._counted is None

    def moved(self, contact: str, before: ContactState | None, after: ContactState | None) -> None:
        """A committed batch took a contact from one state to another."""
        counted = self._counted
        if counted is None or contact in counted:
            self._add(before, -1)
        else:
            counted.add(contact)
        self._add(after, 1)

    def found(self, states: Mapping[str, ContactState | None]) -> None:
        """Contacts, with their states as of the newest committed batch; each may be named several times."""
        counted = self._counted
        if counted is None:
            return
        for contact, state in states.items():
            if contact not in counted:
                counted.add(contact)
                self._add(state, 1)

    def finish(self) -> None:
        """Everybody was found."""
        self._counted = None

    def _add(self, state: ContactState | None, n: int) -> None:
        for stand, stalled in _stands(state):
            self.contacts[stand] += n
            if stalled:
                self.stalled[stand] += n


def _stands(state: ContactState | None) -> Iterator[tuple[Stand, bool]]:
    if state is not None:
        for journey, run in state.runs.items():
            if run.status == ACTIVE:
                yield (journey, run.place), run.stalled
