"""What a condition counts and when it holds: closures over the bounded facts of one run.

A condition is a tree; its leaves count events or run timers. ``Leaf.count`` takes an event in, ``Leaf.retime`` says
when its timer fires, ``Leaf.fire`` notes that it did, ``Holds`` answers from what was noted. Facts are kept by leaf
key in ``Run.facts``; ``count`` and ``fire`` write there, so the Run handed in has a copy of its own.
May not contain: which rules a leaf serves (``compile.py``), moves (``step.py``), a clock.

Form of a fact, by leaf: ``times`` a number; ``per: campaign`` the groups seen; ``within`` the times, or times and
groups in turn; ``quiet stuck after`` the due time that fired; ``no_click`` the due time that fired or 0, then times and
groups of the sends counted; ``missed`` the arming or 0, the due time that fired or 0, then the times of ``then``.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct

from stagepost.events import DAY
from stagepost.journey.state import ACTIVE, Fact, Run, Withdrawal

Register = dict[str, Withdrawal]
Holds = Callable[[dict[int, Fact], int, Register], bool]
"""(facts of the run, the event's own time, register) -> whether the condition holds."""

MATCHED = 1
"""What an event is to a leaf: a match; to ``missed`` a ``first``, a ``then``, or both."""
FIRST = 1
THEN = 2

SLACK = 16
"""Times kept beyond what is asked for, so that events out of order within ``lateness`` still find theirs."""


LATE_FIRST = 7 * DAY
"""How far beyond lateness a ``first`` still finds the ``then`` that arrived before it."""

EVERYWHERE = 1 << 30

NOTHING_SINCE_EXIT = -1
OPENS_SINCE_EXIT = -2
"""``Run.settled`` after an exit, until activity comes: without a run, counting runs since the last exit."""


class Hit(Struct, gc=False):
    """One event as leaves count it. ``group``: its campaign, else its message, as a number; 0 for neither."""

    at: int
    group: int
    horizon: int
    """No event older than this acts any more: what only it could ask for need not be kept."""
    since: int
    """Consent of the journey: since when, 0 for ever, -1 none."""


class Leaf:
    """One leaf of a condition, with the rules that it can move (leaves under ``not`` move none)."""

    __slots__ = (
        "back",
        "engagement",
        "exits",
        "grouped",
        "key",
        "kin",
        "order",
        "path",
        "reach",
        "setbacks",
        "staged",
        "stages",
        "until",
    )

    kind: ClassVar[str] = ""
    """Name of its timer in records; empty: it has none."""

    def __init__(self, key: int, order: int, path: str, back: frozenset[int] | None) -> None:
        self.key = key
        self.kin = key
        """The same for leaves that count the same events, whatever number they ask for."""
        self.order = order
        self.path = path
        """Rule path, of timers."""
        self.back = back
        """The setbacks that it can end, counting from their begin; None: it counts over the run."""
        self.exits: tuple[int, ...] = ()
        self.setbacks: tuple[int, ...] = ()
        self.stages: tuple[int, ...] = ()
        self.reach = -1
        """The highest stage that asks for it; ``EVERYWHERE`` if a rule does that is no stage. Once a contact's best
        stage is as high, what it counts can move nobody in this run any more."""
        self.until = False
        """A match can end a setback of ``back``."""
        self.staged = False
        """Some stage asks for it, so it counts also while there is no run."""
        self.grouped = False
        """Counts campaigns: an event with neither campaign nor message is no match."""
        self.engagement = False
        """Holds opens, clicks, replies or custom activities: deleted when consent is withdrawn."""

    def count(self, run: Run, hit: Hit, bits: int) -> bool:
        """Take in an event that matched; returns whether that can have moved the leaf's timer."""
        return False

    def retime(self, run: Run, since: int) -> int:
        """When the timer fires next, 0: it does not run. Forgets a firing whose base has moved. ``since``: see Hit."""
        return 0

    def fire(self, run: Run, due: int) -> None:
        """Note that the timer fired."""

    def restart(self, run: Run, at: int) -> None:
        """A human click at ``at``, or a recovery, came."""

    def adopt(self, fact: Fact) -> Fact:
        """The fact of a leaf of the same kin as this one keeps it."""
        return fact

    def holds(self, facts: dict[int, Fact], at: int, register: Register) -> bool:
        """Whether the leaf holds for an event at ``at``."""
        return self.key in facts


class Signal(Leaf):
    """A leaf that only says that its event came; whether it holds is read off the register."""

    __slots__ = ()

    def holds(self, facts: dict[int, Fact], at: int, register: Register) -> bool:
        return True


class Once(Leaf):
    """One matching event in the run."""

    __slots__ = ()

    def count(self, run: Run, hit: Hit, bits: int) -> bool:
        run.facts[self.key] = 1
        return False

    def adopt(self, fact: Fact) -> Fact:
        return 1


class Times(Leaf):
    """At least ``n`` matching events in the run."""

    __slots__ = ("n",)

    n: int

    def count(self, run: Run, hit: Hit, bits: int) -> bool:
        seen = run.facts.get(self.key, 0)
        if isinstance(seen, int) and seen < self.n:
            run.facts[self.key] = seen + 1
        return False

    def adopt(self, fact: Fact) -> Fact:
        return min(fact, self.n) if isinstance(fact, int) else 0

    def holds(self, facts: dict[int, Fact], at: int, register: Register) -> bool:
        seen = facts.get(self.key, 0)
        return isinstance(seen, int) and seen >= self.n


class Campaigns(Leaf):
    """Matching events of at least ``n`` different campaigns in the run."""

    __slots__ = ("n",)

    n: int

    def count(self, run: Run, hit: Hit, bits: int) -> bool:
        seen = _listed(run.facts, self.key)
        if len(seen) < self.n and hit.group not in seen:
            run.facts[self.key] = (*seen, hit.group)
        return False

    def adopt(self, fact: Fact) -> Fact:
        return fact[: self.n] if isinstance(fact, tuple) else ()

    def holds(self, facts: dict[int, Fact], at: int, register: Register) -> bool:
        return len(_listed(facts, self.key)) >= self.n


class TimesWithin(Leaf):
    """At least ``n`` matching events in (t - span, t]."""

    __slots__ = ("n", "span")

    n: int
    span: int

    def count(self, run: Run, hit: Hit, bits: int) -> bool:
        oldest = hit.horizon - self.span
        times = [time for time in _listed(run.facts, self.key) if time > oldest]
        insort(times, hit.at)
        if self.n == 1:
            times = _spread(times, self.span - 1)
        run.facts[self.key] = tuple(times[-(self.n + SLACK) :])
        return False

    def adopt(self, fact: Fact) -> Fact:
        return fact[-(self.n + SLACK) :] if isinstance(fact, tuple) else ()

    def holds(self, facts: dict[int, Fact], at: int, register: Register) -> bool:
        times = _listed(facts, self.key)
        if len(times) < self.n:
            return False
        oldest = at - self.span
        return sum(1 for time in times if oldest < time <= at) >= self.n


class CampaignsWithin(Leaf):
    """Matching events of at least ``n`` different campaigns in (t - span, t]."""

    __slots__ = ("n", "span")

    n: int
    span: int

    def count(self, run: Run, hit: Hit, bits: int) -> bool:
        oldest = hit.horizon - self.span
        pairs = [pair for pair in _pairs(_listed(run.facts, self.key)) if pair[0] > oldest]
        of_group = sorted([time for time, group in pairs if group == hit.group] + [hit.at])
        pairs = [pair for pair in pairs if pair[1] != hit.group]
        pairs += [(time, hit.group) for time in _spread(of_group, self.span - 1)]
        pairs.sort()
        run.facts[self.key] = _flat(pairs[-(self.n + SLACK) :])
        return False

    def adopt(self, fact: Fact) -> Fact:
        return fact[-2 * (self.n + SLACK) :] if isinstance(fact, tuple) else ()

    def holds(self, facts: dict[int, Fact], at: int, register: Register) -> bool:
        oldest = at - self.span
        pairs = _pairs(_listed(facts, self.key))
        return len({group for time, group in pairs if oldest < time <= at}) >= self.n


class Timer(Leaf):
    """A timer whose fact is the due time that fired; it holds until its base moves (``retime`` forgets it)."""

    __slots__ = ("span",)

    span: int

    def base(self, run: Run, since: int) -> int:
        """From when the span counts; 0: the timer does not run."""
        raise NotImplementedError

    def retime(self, run: Run, since: int) -> int:
        base = self.base(run, since)
        due = base + self.span if base else 0
        if self.key not in run.facts:
            return due
        if run.facts[self.key] == due:
            return 0
        del run.facts[self.key]
        return due

    def fire(self, run: Run, due: int) -> None:
        run.facts[self.key] = due

    def holds(self, facts: dict[int, Fact], at: int, register: Register) -> bool:
        fired = facts.get(self.key)
        return isinstance(fired, int) and fired <= at


class StuckLeaf(Timer):
    """``stuck``: since the last move of the run, setbacks included."""

    __slots__ = ()
    kind = "stuck"

    def base(self, run: Run, since: int) -> int:
        return run.since if run.status == ACTIVE else 0


class AfterLeaf(Timer):
    """``after``: since the run began; as a way out of a setback, since that."""

    __slots__ = ()
    kind = "after"

    def base(self, run: Run, since: int) -> int:
        if run.status != ACTIVE:
            return 0
        return run.began if self.back is None else run.since


class QuietLeaf(Timer):
    """``quiet``: since the last activity or move into a stage (the setback, as a way out of it), whichever is later."""

    __slots__ = ("opens",)
    kind = "quiet"

    opens: bool

    def base(self, run: Run, since: int) -> int:
        if since < 0:
            return 0
        active = max(run.active, run.opened) if self.opens else run.active
        if run.status == ACTIVE:
            active = max(active, run.settled if self.back is None else run.since)
        elif run.settled == NOTHING_SINCE_EXIT or (run.settled == OPENS_SINCE_EXIT and not self.opens):
            return 0
        return max(active, since) if active else 0


class NoClickLeaf(Leaf):
    """``no_click``: the n-th counted send plus grace, unless a human click or a recovery restarted the count."""

    __slots__ = ("grace", "n")
    kind = "no_click"

    n: int
    grace: int

    def count(self, run: Run, hit: Hit, bits: int) -> bool:
        at, facts = hit.at, run.facts
        if at < run.clicked or at < run.recovered or (self.back is not None and at < run.since):
            return False
        # Every delivery is kept, not only a campaign's first: a click with a time between two makes the second count.
        counted = _listed(facts, self.key) or (0,)
        newest = len(counted) == 1 or at >= counted[-2]
        if newest:
            counted += (at, hit.group)
        else:
            sends = _pairs(counted[1:])
            insort(sends, (at, hit.group), key=_time)
            counted = (counted[0], *_flat(sends))
        if len(counted) > 2 * (self.n + SLACK) + 1:
            # The first n campaigns give the due time, the newest are left after a click: what lies between goes.
            place = self._needless(counted)
            counted = (*counted[:place], *counted[place + 2 :])
        facts[self.key] = counted
        if len(counted) <= 2 * self.n:
            return False
        # The newest send moves nothing where the n-th campaign came before it, or it is of a campaign that did.
        return not newest or hit.since > 0 or not (self.key in run.timers or hit.group in counted[2:-1:2])

    def _needless(self, counted: tuple[int, ...]) -> int:
        """Place of the first send that is not the first of one of the first n campaigns."""
        groups: set[int] = set()
        place = 1
        while counted[place + 1] not in groups and len(groups) < self.n:
            groups.add(counted[place + 1])
            place += 2
        return place

    def retime(self, run: Run, since: int) -> int:
        counted = _listed(run.facts, self.key)
        if len(counted) <= 2 * self.n - 1 or counted[0] or since < 0:
            return 0
        groups: set[int] = set()
        for place in range(1, len(counted), 2):
            if counted[place] >= since:
                groups.add(counted[place + 1])
                if len(groups) == self.n:
                    return counted[place] + self.grace
        return 0

    def fire(self, run: Run, due: int) -> None:
        run.facts[self.key] = (due, *_listed(run.facts, self.key)[1:])

    def restart(self, run: Run, at: int) -> None:
        counted = _listed(run.facts, self.key)
        if len(counted) > 1 and counted[-2] > at:
            run.facts[self.key] = (0, *_flat([pair for pair in _pairs(counted[1:]) if pair[0] > at]))
        elif counted:
            run.facts[self.key] = (0,)

    def holds(self, facts: dict[int, Fact], at: int, register: Register) -> bool:
        counted = _listed(facts, self.key)
        return bool(counted) and 0 < counted[0] <= at


class MissedLeaf(Leaf):
    """``missed``: armed by ``first``, disarmed by a ``then`` in [arming, arming + span], whichever arrived first."""

    __slots__ = ("span",)
    kind = "missed"

    span: int

    def count(self, run: Run, hit: Hit, bits: int) -> bool:
        armed, fired, *thens = _listed(run.facts, self.key) or (0, 0)
        at, span = hit.at, self.span
        if armed < hit.since:
            armed = 0  # consent was withdrawn and given again since
        if bits & THEN:
            if armed and armed <= at <= armed + span:
                armed = 0
            if at >= fired - span:
                fired = 0
        consented = 0 <= hit.since <= at
        if bits & FIRST and not armed and consented and not any(at <= then <= at + span for then in thens):
            armed = at
        if bits & THEN:
            oldest = hit.horizon - span - LATE_FIRST
            thens = [time for time in thens if time > oldest]
            insort(thens, at)
            thens = _spread(thens, span)[-SLACK:]
        run.facts[self.key] = (armed, fired, *thens)
        return True

    def retime(self, run: Run, since: int) -> int:
        known = _listed(run.facts, self.key)
        return known[0] + self.span if known and known[0] and 0 <= since <= known[0] else 0

    def fire(self, run: Run, due: int) -> None:
        run.facts[self.key] = (0, due, *_listed(run.facts, self.key)[2:])

    def holds(self, facts: dict[int, Fact], at: int, register: Register) -> bool:
        known = _listed(facts, self.key)
        return bool(known) and 0 < known[1] <= at


def all_of(parts: tuple[Holds, ...]) -> Holds:
    def holds(facts: dict[int, Fact], at: int, register: Register) -> bool:
        for part in parts:  # noqa: SIM110 - half the time of ``all`` with a generator
            if not part(facts, at, register):
                return False
        return True

    return holds


def any_of(parts: tuple[Holds, ...]) -> Holds:
    def holds(facts: dict[int, Fact], at: int, register: Register) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(facts, at, register):
                return True
        return False

    return holds


def negation(part: Holds) -> Holds:
    return lambda facts, at, register: not part(facts, at, register)


def _listed(facts: dict[int, Fact], key: int) -> tuple[int, ...]:
    """A fact that is a list. A number can only stand there after a clash of keys: it counts as nothing."""
    value = facts.get(key)
    return value if isinstance(value, tuple) else ()


def _time(pair: tuple[int, int]) -> int:
    return pair[0]


def _pairs(flat: tuple[int, ...] | list[int]) -> list[tuple[int, int]]:
    return list(zip(flat[::2], flat[1::2], strict=False))


def _flat(pairs: list[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(number for pair in pairs for number in pair)


def _spread(times: list[int], span: int) -> list[int]:
    """Of sorted times those that a window of ``span``, ends included, can need to be seen not to be empty.

    A time is needless when its neighbours lie within ``span``: any window that holds it holds one of them.
    """
    kept: list[int] = []
    for place, time in enumerate(times):
        if kept and place + 1 < len(times) and times[place + 1] - kept[-1] <= span:
            continue
        kept.append(time)
    return kept
