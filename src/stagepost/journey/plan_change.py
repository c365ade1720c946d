"""What a change of a journey would do, before it is done: which rules differ, and who would move from where to where.

Rules are compared by what they mean; comments, spelling and the order of keys are no difference.
May not contain: reading definitions or contacts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stagepost.journey.compile import Program
from stagepost.journey.definition import Bots, Journey, Setback, Stage
from stagepost.journey.durations import duration_text
from stagepost.journey.lines import line_of
from stagepost.journey.state import NONE, ContactState
from stagepost.journey.step import step_tick
from stagepost.journey.switch import Switch, bring
from stagepost.journey.wording import words_of

Kind = Literal["added", "removed", "changed", "moved"]


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One difference. ``before`` and ``after`` say what the rule is, None where it is not; lines are 1-based.

    ``moved``: the same rule at another place of its list, which changes what stands below what.
    """

    journey: str
    rule: str
    kind: Kind
    before: str | None = None
    after: str | None = None
    line_before: int | None = None
    line_after: int | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    text: str
    line: int | None


def rule_changes(old: Journey | None, new: Journey | None) -> tuple[RuleChange, ...]:
    """The differences from ``old`` to ``new``, in the order of the file; None: there is no such journey."""
    if new is None:
        return () if old is None else (RuleChange(old.name, "journey", "removed", before=old.version),)
    if old is None:
        return (RuleChange(new.name, "journey", "added", after=new.version, line_after=line_of(new, "journey")),)
    before, after = _parts(old), _parts(new)
    moved = _moved(old, new)
    found = []
    for rule in dict.fromkeys((*after, *before)):
        was, now = before.get(rule), after.get(rule)
        kind: Kind
        if was is None:
            kind = "added"
        elif now is None:
            kind = "removed"
        elif was.text != now.text:
            kind = "changed"
        elif rule in moved:
            kind = "moved"
        else:
            continue
        found.append(
            RuleChange(
                journey=new.name,
                rule=rule,
                kind=kind,
                before=None if was is None else was.text,
                after=None if now is None else now.text,
                line_before=None if was is None else was.line,
                line_after=None if now is None else now.line,
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Moving:
    """Contacts that would go from one place to another; ``source`` None: they are in no run yet."""

    journey: str
    source: str | None
    target: str | None
    contacts: int


class Movement:
    """Counts who moves; ``looked_at``: how many contacts were asked."""

    def __init__(self) -> None:
        self.looked_at = 0
        self._moved: Counter[tuple[str, str | None, str | None]] = Counter()

    def add(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """One contact: its place by journey (``places``) before and after."""
        self.looked_at += 1
        for journey in before.keys() | after.keys():
            source, target = before.get(journey), after.get(journey)
            if source != target:
                self._moved[journey, source, target] += 1

    def rows(self) -> tuple[Moving, ...]:
        """By journey, the most contacts first."""
        rows = [Moving(*key, contacts) for key, contacts in self._moved.items()]
        return tuple(sorted(rows, key=lambda m: (m.journey, -m.contacts, m.source or "", m.target or "")))


def places(state: ContactState | None, program: Program) -> dict[str, str]:
    """Where a contact is, by journey of ``program``; where a run ended, the exit."""
    if state is None:
        return {}
    return {name: run.place for name, run in state.runs.items() if run.status != NONE and name in program.by_name}


def after_switch(switch: Switch, contact: str, state: ContactState, clock: int) -> ContactState | None:
    """The contact once the change has come to it, timers that are over by ``clock`` included."""
    if not switch.concerns(state):
        return state
    now = bring(switch, contact, state).state
    while now is not None and 0 < now.due < clock:
        now = step_tick(switch.program, contact, now).state
    return now


def _moved(old: Journey, new: Journey) -> set[str]:
    """Rules whose list has them in another order than before, counting only what stands in both."""
    moved = set()
    for section in ("stages", "setbacks", "exits"):
        was = [each.path for each in getattr(old, section)]
        now = [each.path for each in getattr(new, section)]
        common = [path for path in now if path in was]
        kept = [path for path in was if path in now]
        moved |= {path for path, other in zip(common, kept, strict=True) if path != other}
    return moved


def _parts(journey: Journey) -> dict[str, _Part]:
    """Everything that a file says, by rule path: in words, and in which line. Defaults are not said."""
    parts = {key: _Part(text, line_of(journey, key)) for key, text in _keys(journey).items()}
    for link in journey.links:
        text = link.pattern + (f", means {link.means}" if link.means is not None else "")
        parts[f"links.{link.name}"] = _Part(text, line_of(journey, "links"))
    for stage in journey.stages:
        parts[stage.path] = _Part(_stage(stage), stage.position.line)
    for setback in journey.setbacks:
        parts[setback.path] = _Part(_setback(setback), setback.position.line)
    if journey.recover is not None:
        parts["recover"] = _Part(words_of(journey.recover), line_of(journey, "recover"))
    for exit_ in journey.exits:
        parts[exit_.path] = _Part(words_of(exit_.when), exit_.position.line)
    return parts


def _stage(stage: Stage) -> str:
    stalls = f"; stalls after {duration_text(stage.stalls_after)}" if stage.stalls_after is not None else ""
    return words_of(stage.when) + stalls


def _setback(setback: Setback) -> str:
    text = f"{words_of(setback.when)}; from {', '.join(setback.sources)}"
    if setback.until is None:
        return text
    return f"{text}; until {setback.until if setback.until == 'never' else words_of(setback.until)}"


def _keys(journey: Journey) -> dict[str, str]:
    """What stands beside the rules."""
    defaults = Journey(name="", title=None, stages=(), version="")
    said: dict[str, str | None] = {
        "sends": ", ".join(sorted(journey.sends)) or None,
        "labels": ", ".join(f"{key}: {value}" for key, value in sorted(journey.labels)) or None,
        "enter": journey.enter if journey.enter != defaults.enter else None,
        "reenter": _reenter(journey),
        "goal": _goal(journey),
        "consent": f"{journey.consent.purpose}, default {journey.consent.default}" if journey.consent else None,
        "bots": _bots(journey.bots),
        "attribution": duration_text(journey.attribution) if journey.attribution != defaults.attribution else None,
        "lateness": duration_text(journey.lateness) if journey.lateness != defaults.lateness else None,
        "on_change": journey.on_change if journey.on_change != defaults.on_change else None,
    }
    return {key: text for key, text in said.items() if text is not None}


def _reenter(journey: Journey) -> str | None:
    reenter = journey.reenter
    if reenter is None or reenter.after is None:
        return None
    text = f"after {duration_text(reenter.after)}" if reenter.after else "always"
    return text + (f", never after {', '.join(sorted(reenter.never_after))}" if reenter.never_after else "")


def _goal(journey: Journey) -> str | None:
    goal = journey.goal
    if goal is None:
        return None
    return goal.reach + (f" within {duration_text(goal.within)}" if goal.within is not None else "")


def _bots(bots: Bots | None) -> str | None:
    if bots is None:
        return "off"
    if bots == Bots():
        return None
    spans = ", ".join(f"{name} {duration_text(getattr(bots, name))}" for name in ("instant", "near", "hold"))
    return f"{spans}, burst of {bots.burst_urls} within {duration_text(bots.burst_within)}"
