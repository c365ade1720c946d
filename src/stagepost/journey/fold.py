"""Folding events and timers of one partition in order: the only place that knows when a timer fires.

The same Fold runs under the worker, in ``simulate`` and in tests. It is an overlay: it never changes the states it is
given nor the ``TimerIndex``, so throwing it away undoes it. Whoever keeps its result writes ``changed`` and then
``TimerIndex.set(contact, next_due(state))`` for each contact in it, before the next Fold begins.

Law (journeys.md 3, step 0): timers that the clock has passed (due < clock) fire before the event that moved the clock,
in (due, contact, journey, timer kind, rule path) order, each a step of its own. ``run_to`` fires those due exactly at
the clock too. Test events do not move the clock. While a change of definitions is under way (``switch.py``), a contact
is brought up to the new ones before anything else happens to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush

from msgspec import structs

from stagepost.events import Event
from stagepost.journey.compile import Program
from stagepost.journey.result import Step
from stagepost.journey.state import ContactState, next_due
from stagepost.journey.step import step_event, step_tick
from stagepost.journey.switch import Switch, bring

_Entry = tuple[int, str]

NEVER = 1 << 63
"""Later than every time."""

UNKNOWN = -1
"""Earlier than every time."""


class TimerIndex:
    """Which contact is due when: everyone who is due at ``until`` or before.

    A heap with lazy deletion: an entry is live when ``due`` still says the same.

    ``until``: of later timers nothing is known here; NEVER: there are no others, UNKNOWN: nothing is known yet.
    """

    def __init__(self, until: int = NEVER) -> None:
        self.until = until
        self._due: dict[str, int] = {}
        self._heap: list[_Entry] = []

    def __len__(self) -> int:
        return len(self._due)

    def set(self, contact: str, due: int | None) -> None:
        """The contact's first timer is due at ``due`` now (None: it has none)."""
        if due is None or due > self.until:
            self._due.pop(contact, None)
        elif self._due.get(contact) != due:
            self._due[contact] = due
            heappush(self._heap, (due, contact))
        if len(self._heap) > 2 * len(self._due) + 64:
            self._compact()

    def learn(self, due: Mapping[str, int], until: int) -> None:
        """``due``: every contact that is due behind ``self.until`` and at ``until`` or before, and when."""
        self.until = until
        for contact, at in due.items():
            self.set(contact, at)

    def shorten(self, most: int) -> None:
        """Of more than ``most`` contacts, keep the half of ``most`` that is due first, and those due with its last."""
        if len(self._due) <= most:
            return
        until = sorted(self._due.values())[max(0, most // 2 - 1)]
        self.until = until
        self._due = {contact: due for contact, due in self._due.items() if due <= until}
        self._compact()

    def due(self, contact: str) -> int | None:
        return self._due.get(contact)

    def tidy(self) -> None:
        """Forget dead entries before the first live one: every batch would walk them again."""
        self.peek()

    def peek(self) -> tuple[int, str] | None:
        """The first (due, contact), or None."""
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0] if heap else None

    def due_by(self, clock: int) -> list[str]:
        """Contacts due at ``clock`` or before, in order of (due, contact)."""
        cursor = Cursor(self)
        found: dict[str, None] = {}
        while (entry := cursor.peek()) is not None and entry[0] <= clock:
            cursor.skip()
            found[entry[1]] = None
        return list(found)

    def _compact(self) -> None:
        """Dead entries never outnumber live ones for long, so memory follows the number of contacts with a timer."""
        self._heap = [(due, contact) for contact, due in self._due.items()]
        heapify(self._heap)


class Cursor:
    """Reads a ``TimerIndex`` in order without changing it; the index must not change meanwhile.

    Walks the heap array itself: the children of a visited place are the next candidates, so k entries cost k log k.
    """

    def __init__(self, index: TimerIndex) -> None:
        self._heap = index._heap
        self._due = index._due
        self._frontier: list[tuple[_Entry, int]] = [(self._heap[0], 0)] if self._heap else []

    def peek(self) -> _Entry | None:
        """The first live entry not yet skipped."""
        while self._frontier:
            entry = self._frontier[0][0]
            if self._due.get(entry[1]) == entry[0]:
                return entry
            self.skip()
        return None

    def skip(self) -> None:
        """Go past the entry that ``peek`` showed."""
        _, place = heappop(self._frontier)
        for child in (2 * place + 1, 2 * place + 2):
            if child < len(self._heap):
                heappush(self._frontier, (self._heap[child], child))


class Fold:
    """States and clock of one partition as a batch goes through; an overlay over what ``state_of`` and ``timers`` hold.

    ``clock``: partition clock, micros. ``state_of`` must answer for every contact of an event and for every contact in
    ``timers`` that becomes due (``TimerIndex.due_by`` names them); None means that nothing is known of the contact. The
    clock does not go beyond what is known of ``timers``.
    ``switch``: the change of definitions under way, None nearly always; ``epoch``: the last change that there was.
    """

    def __init__(
        self,
        program: Program,
        *,
        clock: int,
        state_of: Callable[[str], ContactState | None],
        timers: TimerIndex,
        switch: Switch | None = None,
        epoch: int = 0,
    ) -> None:
        self.clock = clock
        self.changed: dict[str, ContactState | None] = {}
        """The newest state of every contact that changed; None: nothing is kept of it any more."""
        self._program = program
        self._state_of = state_of
        self._timers = timers
        self._switch = switch
        self._epoch = epoch
        self._base = Cursor(timers)
        self._own: list[_Entry] = []
        self._next = 0
        """Nothing is due before: few events need a look into the index of timers."""
        self._passed: list[_Entry] = []

    def event(self, event: Event, at: int) -> list[tuple[str, Step]]:
        """Fire what the clock has passed, then apply the event; ``at``: its time, clamped to the broker timestamp.

        The event's step is the one whose ``outcome`` is not None. Should anything raise, the Fold is as it was before.
        """
        before = self.clock
        undo: list[tuple[str, ContactState | None, bool]] = []
        self._passed.clear()
        if at > before and not event.test:
            self.clock = at
        steps: list[tuple[str, Step]] = []
        try:
            if self.clock > before and self.clock > self._next:
                self._fire(self.clock, steps, undo)
            contact = event.contact
            state = self._state(contact)
            if self._switch is not None and state is not None and self._switch.concerns(state):
                self._bring(self._switch, contact, state, steps, undo)
                self._fire(self.clock, steps, undo)
                state = self._state(contact)
            step = step_event(self._program, state, event, at, self.clock)
            steps.append((contact, step))
            if step.state is not state:
                if state is None and step.state is not None:
                    step.state.epoch = self._epoch
                self._put(contact, step.state, undo, 0 if state is None else state.due)
                if step.state is not None and 0 < step.state.due < self.clock:
                    self._fire(self.clock, steps, undo)
        except Exception:
            self._restore(before, undo)
            raise
        return steps

    def run_to(self, clock: int, most: int | None = None) -> list[tuple[str, Step]]:
        """Move the clock without an event (idle, end of ``simulate``); fires also what is due exactly then.

        After ``most`` timers it stands at the last of them, and the rest is due still.
        """
        before = self.clock
        undo: list[tuple[str, ContactState | None, bool]] = []
        self._passed.clear()
        steps: list[tuple[str, Step]] = []
        self.clock = max(before, clock)
        try:
            self._fire(self.clock + 1, steps, undo, most)
        except Exception:
            self._restore(before, undo)
            raise
        if most is not None and len(steps) >= most:
            self.clock = max(before, self._passed[-1][0])
        return steps

    def sweep(self, contacts: Iterable[str]) -> list[tuple[str, Step]]:
        """Bring contacts up to the new definitions whose turn has not come by an event or a timer of their own.

        Whom the change leaves as he was is not written: should something happen to him meanwhile, his turn comes then.
        """
        if self._switch is None:
            return []
        undo: list[tuple[str, ContactState | None, bool]] = []
        self._passed.clear()
        steps: list[tuple[str, Step]] = []
        for contact in contacts:
            state = self._state(contact)
            if state is None or not self._switch.concerns(state):
                continue
            step = bring(self._switch, contact, state)
            if step.moves or not _equal_but_for_epoch(step.state, state):
                steps.append((contact, step))
                self._put(contact, step.state, undo)
        self._fire(self.clock, steps, undo)
        return steps

    def _bring(
        self,
        switch: Switch,
        contact: str,
        state: ContactState,
        steps: list[tuple[str, Step]],
        undo: list[tuple[str, ContactState | None, bool]],
    ) -> None:
        step = bring(switch, contact, state)
        steps.append((contact, step))
        self._put(contact, step.state, undo)

    def _state(self, contact: str) -> ContactState | None:
        return self.changed[contact] if contact in self.changed else self._state_of(contact)

    def _due(self, contact: str) -> int | None:
        if contact not in self.changed:
            return self._timers.due(contact)
        state = self.changed[contact]
        return next_due(state) if state is not None else None

    def _put(
        self,
        contact: str,
        state: ContactState | None,
        undo: list[tuple[str, ContactState | None, bool]],
        expected: int = 0,
    ) -> None:
        """Keep a new state. ``expected``: a due time for which the contact stands in a heap already."""
        known = contact in self.changed
        undo.append((contact, self.changed.get(contact), known))
        self.changed[contact] = state
        if state is not None and state.due and state.due != expected:
            heappush(self._own, (state.due, contact))
            if state.due < self._next:
                self._next = state.due

    def _fire(
        self,
        bound: int,
        steps: list[tuple[str, Step]],
        undo: list[tuple[str, ContactState | None, bool]],
        most: int | None = None,
    ) -> None:
        """Fire everything due before ``bound``, the earliest first, until there are ``most`` steps; what that makes due
        comes in its own turn."""
        while (most is None or len(steps) < most) and (contact := self._pop(bound)) is not None:
            state = self._state(contact)
            if state is None:
                continue
            if self._switch is not None and self._switch.concerns(state):
                self._bring(self._switch, contact, state, steps, undo)  # then its timers come in their own turn
                continue
            step = step_tick(self._program, contact, state)
            steps.append((contact, step))
            self._put(contact, step.state, undo)

    def _pop(self, bound: int) -> str | None:
        """Take the next contact due before ``bound``: from what this Fold changed, or from the index below it."""
        while True:
            base = self._base.peek()
            own = self._own[0] if self._own else None
            first = base if own is None or (base is not None and base <= own) else own
            if first is None or first[0] >= bound:
                self._next = NEVER if first is None else first[0]
                return None
            if first is own:
                heappop(self._own)
                self._passed.append(first)
            else:
                self._base.skip()
                self._passed.append(first)
            due, contact = first
            if due == self._due(contact):
                return contact

    def _restore(self, clock: int, undo: list[tuple[str, ContactState | None, bool]]) -> None:
        self.clock = clock
        self._next = 0
        for contact, state, known in reversed(undo):
            if known:
                self.changed[contact] = state
            else:
                del self.changed[contact]
        for entry in self._passed:
            heappush(self._own, entry)


def _equal_but_for_epoch(new: ContactState | None, old: ContactState) -> bool:
    return new is not None and structs.replace(new, epoch=old.epoch) == old
