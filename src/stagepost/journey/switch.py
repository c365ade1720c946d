"""Change of definitions (journeys.md 4): which versions stay, and what the change does to one contact.

A partition switches at a point of its log. From there on each contact is brought up to the new definitions once, before
anything else happens to it; what that does depends on its state and on the clock of that point alone, so it does not
matter when a contact's turn comes, nor how often a worker dies in between.

    ``on_change``   what an active run does
    keep            stays where it is by name; a stage that is gone becomes the nearest lower one that exists, a setback
                    that is gone the best stage (``kind: migrate``); counts of unchanged conditions go on
    reevaluate      the same, and what was counted stays where only ``times`` is another; then the law of moves
                    (``moves.py``) looks at all conditions, as if each had been touched
    finish          goes on under the version that it began with, until it ends

Timers are those of the new definition, counted from the stored facts; one whose time has passed fires at once.
May not contain: storage, the point of the switch (``engine/definitions.py``), a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from stagepost.journey import register
from stagepost.journey.compile import JourneyProgram, Program, compile_program
from stagepost.journey.conditions import Hit, Leaf
from stagepost.journey.definition import Journey
from stagepost.journey.moves import Scene, decide, migrate, own, retime_all
from stagepost.journey.result import Step
from stagepost.journey.state import ACTIVE, ContactState, Run, copy_state, first_due, number

Version = tuple[str, str]
"""Journey name and version."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a set of new definitions does to versions, by journey name."""

    before: Mapping[str, tuple[str, ...]]
    """Of journeys that changed: the version that was in force, then those that runs were finishing on."""
    finishing: Mapping[str, tuple[str, ...]]
    """Older versions on which runs may go on."""


def change_of(
    old: Mapping[str, str],
    gone: Mapping[str, str],
    finishing: Mapping[str, Collection[str]],
    new: Collection[Journey],
    known: Callable[[Version], bool],
) -> Change:
    """From the versions in force and the older ones that runs finish on, to ``new``.

    ``gone``: the last versions of journeys that went before; one that comes back has lost its timers meanwhile.
    ``known``: whether the definition of a version can still be had; without it its runs cannot finish on it.
    """
    before: dict[str, tuple[str, ...]] = {}
    stay: dict[str, tuple[str, ...]] = {}
    for journey in new:
        name, version = journey.name, journey.version
        older = tuple(finishing.get(name, ()))
        was = old.get(name) or gone.get(name)
        if was is None:
            continue
        if was == version and name in old:
            if older:
                stay[name] = older
            continue
        before[name] = (was, *older)
        if journey.on_change == "finish":
            left = tuple(v for v in before[name] if v != version and known((name, v)))
            if left:
                stay[name] = left
    return Change(before, stay)


@dataclass(frozen=True, slots=True)
class Switch:
    """One change under way. ``program`` holds the new definitions, and the older ones on which runs go on."""

    epoch: int
    """Number of the batch from which the new definitions are in force; larger than of every change before."""
    clock: int
    """Partition clock at that point, micros: the time of what the change does."""
    program: Program
    before: Mapping[tuple[str, int], Journey | None]
    """What runs were on, by journey name and mark (0: the version that was in force). None: not known any more."""
    recounted: Mapping[tuple[str, int], Sequence[tuple[int, Leaf]]] = field(default_factory=dict)
    """Of journeys that are evaluated anew, by what runs were on: keys of old counts, and the leaves that go on with
    them under another number."""

    def concerns(self, state: ContactState) -> bool:
        """Whether the contact is yet to be brought up to the new definitions."""
        return state.epoch < self.epoch and not state.erased


def switch_to(
    program: Program, change: Change, epoch: int, clock: int, stored: Callable[[Version], Journey | None]
) -> Switch:
    """The Switch of ``change``; ``stored`` gives the old definitions."""
    before: dict[tuple[str, int], Journey | None] = {}
    for name, versions in change.before.items():
        for version in versions:
            before[name, number(version)] = stored((name, version))
        before[name, 0] = before[name, number(versions[0])]
    recounted = {
        (name, mark): _recounted(old, program.by_name[name])
        for (name, mark), old in before.items()
        if old is not None and program.by_name[name].definition.on_change == "reevaluate"
    }
    return Switch(epoch, clock, program, before, recounted)


def _recounted(old: Journey, new: JourneyProgram) -> tuple[tuple[int, Leaf], ...]:
    """Counts of ``old`` that go on in leaves of ``new`` that ask for another number of the same events."""
    known = compile_program([old]).by_name[old.name].leaves
    # Of several counts of the same events the one that asked for most is the fullest.
    fullest = {leaf.kin: leaf.key for leaf in sorted(known.values(), key=lambda leaf: getattr(leaf, "n", 1))}
    fresh = (leaf for leaf in new.leaves.values() if leaf.key not in known and leaf.kin in fullest)
    return tuple((fullest[leaf.kin], leaf) for leaf in fresh)


def bring(switch: Switch, contact: str, state: ContactState) -> Step:
    """Bring one contact, whom the switch concerns, up to the new definitions; journeys in order of their names."""
    program = switch.program
    new = copy_state(state)
    new.epoch = switch.epoch
    scene = Scene(program, contact, new, switch.clock, switch.clock)
    for name in sorted(new.runs):
        journey = program.by_name.get(name)
        if journey is None or (name, 0) not in switch.before:
            continue  # a journey that is gone leaves timers behind, which go without a trace when they are due
        run = own(new.runs[name])
        if not _stays(switch, name, run):
            was = (name, run.version)
            _keep(scene, journey, run, switch.before.get(was), switch.recounted.get(was, ()))
            run.version = 0
            retime_all(scene, journey, run)
            if journey.definition.on_change == "reevaluate":
                _reevaluate(scene, journey, run)
        new.runs = {**new.runs, name: run}
    lenses = {lens.key for lens in program.lenses}
    new.lenses = {key: lens for key, lens in new.lenses.items() if key in lenses or lens.held}
    new.due = first_due(new)
    return Step(new, tuple(scene.moves), (), None)


def finishing(state: ContactState | None) -> Counter[tuple[str, int]]:
    """Active runs of a contact that finish on an older version, by journey name and mark."""
    if state is None:
        return Counter()
    marked = ((name, run.version) for name, run in state.runs.items() if run.version and run.status == ACTIVE)
    return Counter(marked)


def _stays(switch: Switch, name: str, run: Run) -> bool:
    """Whether the run goes on under the version that it is on; then it is marked with it."""
    if run.status != ACTIVE:
        return False
    mark = run.version
    if not mark:
        old = switch.before[name, 0]
        mark = number(old.version) if old is not None else 0
    if (name, mark) not in switch.program.older:
        return False
    run.version = mark
    return True


def _keep(
    scene: Scene, journey: JourneyProgram, run: Run, old: Journey | None, recounted: Sequence[tuple[int, Leaf]]
) -> None:
    """The place by name, the counts of conditions that are still there, and nothing that the new definition forbids."""
    going_on = {leaf.key: leaf.adopt(run.facts[key]) for key, leaf in recounted if key in run.facts}
    run.facts = going_on | {key: fact for key, fact in run.facts.items() if key in journey.leaves}
    consent = journey.definition.consent
    if consent is not None and register.consent_since(scene.state, consent) < 0:
        run.active = run.opened = run.clicked = 0
        for key in [key for key in run.facts if journey.leaves[key].engagement]:
            del run.facts[key]
    if run.status != ACTIVE:
        return
    set_back = run.place != run.stage
    stage, best = _stage_of(journey, run.stage, old), _stage_of(journey, run.best, old)
    best = max(stage, best)
    run.best = journey.stages[best].name
    if set_back and run.place in journey.setback_rank:
        run.stage = journey.stages[stage].name
    elif set_back or journey.stages[stage].name != run.place:
        migrate(scene, journey, run, best if set_back else stage)
    if old is None or old.goal != journey.definition.goal:
        run.peaked = best >= journey.goal_rank
        run.goal = run.goal and run.peaked


def _stage_of(journey: JourneyProgram, name: str, old: Journey | None) -> int:
    """The rank of a stage; of one that is gone, that of the nearest lower one that exists, else of the first."""
    if name in journey.rank:
        return journey.rank[name]
    names = [stage.name for stage in old.stages] if old is not None else []
    lower = names[: names.index(name)] if name in names else []
    return next((journey.rank[known] for known in reversed(lower) if known in journey.rank), 0)


def _reevaluate(scene: Scene, journey: JourneyProgram, run: Run) -> None:
    """Let the law of moves look at every rule, by what is stored."""
    since = register.consent_since(scene.state, journey.definition.consent)
    hit = Hit(scene.at, 0, scene.clock - journey.memory, since)
    present = journey.setback_rank.get(run.place, -1) if run.status == ACTIVE else -1
    decide(scene, journey, run, [leaf for leaf in journey.leaves.values() if _acts(leaf, present)], [], hit, late=False)


def _acts(leaf: Leaf, setback: int) -> bool:
    """Whether some rule owns the leaf, and it counts where the contact is."""
    return setback in leaf.back if leaf.back is not None else bool(leaf.exits or leaf.setbacks or leaf.stages)
