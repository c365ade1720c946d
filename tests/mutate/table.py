"""What is broken: one small change of the source for each rule of journeys.md 2, 3, 3.1 and 4.

Each piece of source stands exactly once in its file (``tests/unit/test_mutations.py`` checks it), so that the table
stays true as the code changes. A change that no input can tell from the original has no place here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """``piece`` of ``file`` becomes ``replacement``: that breaks ``rule``.

    ``file`` lies in the package's ``journey`` folder, or in the one that it names.
    """

    rule: str
    file: str
    piece: str
    replacement: str

    @property
    def path(self) -> str:
        """Below the package."""
        return self.file if "/" in self.file else f"journey/{self.file}"


def _of(file: str, *rows: tuple[str, str, str]) -> tuple[Mutation, ...]:
    return tuple(Mutation(rule, file, piece, replacement) for rule, piece, replacement in rows)


_EXITS = "for place in _places([leaf.exits for leaf in mine]):"
_SETBACKS = "for place in reversed(_places([leaf.setbacks for leaf in mine])):"
_STAGES = "for place in reversed(_places([leaf.stages for leaf in mine])):\n        "
_NOT_LATE = "    if late:\n        return\n    present = journey.setback_rank.get(run.place, -1)\n"
_FIRST_MOVE = "if mine and not (scene.moves and any(move.journey == journey.name for move in scene.moves)):"
_MAY_RETURN = """
    return reenter is not None and reenter.after is not None and run.place not in reenter.never_after


def _may_return(journey: JourneyProgram, run: Run, at: int) -> bool:
    \"\"\"``always`` (after 0) lets in on an event older than the exit too (journeys.md 3.1).\"\"\"
    reenter = journey.definition.reenter
    if reenter is None or reenter.after is None or run.place in reenter.never_after:
        return False
"""

MOVES = _of(
    "moves.py",
    (
        "exits come before setbacks",
        f"    {_EXITS}",
        f"""\
    {_SETBACKS}
        setback = journey.setbacks[place]
        later = place > journey.setback_rank.get(run.place, -1)
        if later and run.stage in setback.sources and setback.holds(facts, at, words) and not late:
            _set_back(scene, journey, run, setback.name, setback.path)
            return
    {_EXITS}""",
    ),
    (
        "the first exit in the list that holds",
        _EXITS,
        _EXITS.replace("_places(", "reversed(_places(").replace("]):", "])):"),
    ),
    ("an exit acts only by an event of its own", _EXITS, "for place in range(len(journey.exits)):"),
    (
        "setbacks come before recoveries",
        _NOT_LATE,
        f"""{_NOT_LATE}
    for back in journey.setbacks:
        if back.name == run.place and back.until is not None and back.until(facts, at, words):
            _recover(scene, journey, run, back.until_path)
            return
""",
    ),
    ("the last setback in the list that holds", _SETBACKS, "for place in _places([leaf.setbacks for leaf in mine]):"),
    ("a setback acts only by an event of its own", _SETBACKS, "for place in reversed(range(len(journey.setbacks))):"),
    ("a setback stands later in the list than the present one", "if place > present and", "if place != present and"),
    ("the present setback does not act again", "if place > present and", "if place >= present and"),
    ("from says which stages a setback can strike", "run.stage in setback.sources and setback", "setback"),
    (
        "from looks at the stage before the present setback",
        "run.stage in setback.sources and setback",
        "(present >= 0 or run.stage in setback.sources) and setback",
    ),
    (
        "a recovery comes before an advance",
        "    if present >= 0:\n",
        """\
    if present >= 0:
        for place in reversed(_places([leaf.stages for leaf in mine])):
            stage = journey.stages[place]
            if place > journey.rank.get(run.best, -1) and stage.holds(facts, at, words):
                _to_stage(scene, journey, run, "advance", place, stage.path)
                return
""",
    ),
    (
        "until never: no advance ends the setback",
        "        if setback.until is None:\n            return\n        if any(",
        "        if setback.until is not None and any(",
    ),
    (
        "a recovery needs an event of until's own",
        "if any(leaf.until and leaf.back is not None for leaf in mine) and setback",
        "if setback",
    ),
    (
        "a recovery goes to the highest stage that holds",
        "for higher in range(len(journey.stages) - 1, place, -1):",
        "for higher in range(0):",
    ),
    ("a recovery goes back to the best stage", "    place = journey.rank.get(run.best, 0)\n", "    place = 0\n"),
    (
        "an advance goes to the highest stage that holds",
        f"{_STAGES}if place <= best:\n            return\n",
        f"{_STAGES.replace('reversed', '')}if place <= best:\n            continue\n",
    ),
    ("an advance goes above the best stage", "        if place <= best:\n", "        if place < best:\n"),
    (
        "a stage acts only by an event of its own",
        f"{_STAGES}if place <= best:",
        "for place in reversed(range(len(journey.stages))):\n        if place <= best:",
    ),
    ("a late event sets nobody back", _NOT_LATE, _NOT_LATE.replace("if late:", "if False:")),
    ("of late events only withdrawals and complaints exit", "(not late or scene.type in LATE_EXITS) and ", ""),
    ("a late withdrawal exits", '"email.unsubscribed", "email.complained"})', '"email.complained"})'),
    ("a late complaint exits", '"email.unsubscribed", "email.complained"})', '"email.unsubscribed"})'),
    (
        "a late event begins no run",
        "        if not late:\n            _try_enter",
        "        if True:\n            _try_enter",
    ),
    ("enter first: only at the first stage", 'if journey.definition.enter == "first" and place > 0:', "if False:"),
    (
        "enter any: at the highest stage that holds",
        f"{_STAGES}if journey",
        f"{_STAGES.replace('reversed', '')}if journey",
    ),
    (
        "at entry all counts restart",
        "run.facts, run.timers, run.recovered = {}, {}, 0",
        "run.timers, run.recovered = {}, 0",
    ),
    (
        "the entering event is the first counted",
        "                leaf.count(run, hit, bits)\n        _to_stage",
        "                pass\n        _to_stage",
    ),
    ("a later run begins with reenter", 'kind = "reenter" if run.number else "enter"', 'kind = "enter"'),
    (
        "moves are numbered anew in each run",
        "run.status, run.number, run.move, run.version = ACTIVE, run.number + 1, 0, 0",
        "run.status, run.number, run.version = ACTIVE, run.number + 1, 0",
    ),
    ("reenter after means at least D", "at - run.last >= reenter.after", "at - run.last > reenter.after"),
    ("reenter always lets in on an event older than the exit", "return reenter.after == 0 or at", "return at"),
    (
        "reenter never is the default",
        _MAY_RETURN,
        _MAY_RETURN.replace(
            "reenter is not None and reenter.after is not None and", "reenter is None or reenter.after is not None and"
        ).replace("if reenter is None or", "if reenter is None:\n        return True\n    if"),
    ),
    (
        "never_after bars exits",
        _MAY_RETURN,
        _MAY_RETURN.replace(" and run.place not in reenter.never_after", "").replace(
            " or run.place in reenter.never_after", ""
        ),
    ),
    ("one stall per stay", "if place is not None and not run.stalled and (span", "if place is not None and (span"),
    (
        "the stay goes on after a stall",
        "    run.stalled = True\n    rule",
        "    run.stalled, run.since = True, at\n    rule",
    ),
    (
        "a setback ends the stay",
        'run.place = name\n    _settle(journey, run, at)\n    _write(scene, journey, run, "setback"',
        'run.place = name\n    _write(scene, journey, run, "setback"',
    ),
    (
        "stalled ends with the next move",
        "    run.since, run.stalled = at, False\n    for key",
        "    run.since = at\n    for key",
    ),
    (
        "goal within means less than D",
        "within is None or at - run.began < within",
        "within is None or at - run.began <= within",
    ),
    ("goal within is of the run's start", "within is None or at - run.began < within", "True"),
    (
        "only the first move to the goal is marked",
        "if place >= journey.goal_rank and not run.peaked:",
        "if place >= journey.goal_rank:",
    ),
    (
        "a stage above the goal's reaches it too",
        "if place >= journey.goal_rank and not",
        "if place == journey.goal_rank and not",
    ),
    ("each run has its goal", "        run.peaked = run.goal = False\n", "        run.goal = False\n"),
    (
        "a move into a stage is never before the previous record",
        "at = scene.at if first else max(scene.at, run.last)",
        "at = scene.at",
    ),
    (
        "the first move of a run has its event's own time",
        "at = scene.at if first else max(scene.at, run.last)",
        "at = max(scene.at, run.last)",
    ),
    (
        "a setback is never before the previous record",
        "    at = max(scene.at, run.last)\n    source, dwell = run.place, at - run.since\n    run.place = name",
        "    at = scene.at\n    source, dwell = run.place, at - run.since\n    run.place = name",
    ),
    (
        "an exit is never before the previous record",
        "    at = max(scene.at, run.last)\n    source, dwell = run.place, at - run.since\n    run.status",
        "    at = scene.at\n    source, dwell = run.place, at - run.since\n    run.status",
    ),
    (
        "the first move of a run has neither from nor dwell",
        "(None, None) if first else (run.place, at - run.since)",
        "(run.place, at - run.since)",
    ),
    (
        "dwell goes on from the last real move, a stall is none",
        "(None, None) if first else (run.place, at - run.since)",
        "(None, None) if first else (run.place, at - run.last)",
    ),
    (
        "late marks an event older than the previous record",
        "late = scene.event is not None and scene.at < run.last",
        "late = False",
    ),
    (
        "an event as old as the previous record is not late",
        "late = scene.event is not None and scene.at < run.last",
        "late = scene.event is not None and scene.at <= run.last",
    ),
    ("credit is direct when the cause names a send", 'if scene.type.startswith("email.") and (', "if False and ("),
    ("only an e-mail event gives direct credit", 'if scene.type.startswith("email.") and (', "if scene.type and ("),
    ("the credit window ends at the event's own time", "        if click.at <= at:\n", "        if True:\n"),
    ("a click at the event's own time earns credit", "        if click.at <= at:\n", "        if click.at < at:\n"),
    (
        "credit reaches exactly as far back as the window",
        "if at - click.at > journey.definition.attribution:",
        "if at - click.at >= journey.definition.attribution:",
    ),
    (
        "credit reaches no further back than the window",
        "if at - click.at > journey.definition.attribution:",
        "if False:",
    ),
    ("the crediting time is the click's", '_text(click.at), "last_click")', '_text(at), "last_click")'),
    ("a record shows no query string", 'return url.partition("?")[0] if url else url', "return url"),
    (
        "until counts from the setback on",
        "if key in journey.stay_keys]:",
        "if key in journey.stay_keys and journey.leaves[key].back is None]:",
    ),
    (
        "stuck counts anew after a move to the same time",
        "if key in journey.stay_keys]:",
        "if key in journey.stay_keys and journey.leaves[key].back is not None]:",
    ),
    ("a move into a stage restarts quiet", "    run.settled = at\n    goal", "    goal"),
    (
        "a setback does not restart quiet",
        "    run.since, run.stalled = at, False\n    for key",
        "    run.since, run.stalled, run.settled = at, False, at\n    for key",
    ),
    (
        "a recovery restarts the count of no_click",
        "        run.recovered = at\n        for leaf in journey.no_clicks:\n            leaf.restart(run, at)\n",
        "        run.recovered = 0\n",
    ),
    (
        "the time of a recovery is its record's at",
        "        run.recovered = at\n        for leaf in",
        "        run.recovered = scene.at\n        for leaf in",
    ),
    (
        "after an exit all counts restart",
        "    run.facts, run.timers = {}, {}\n    scene.retimed",
        "    run.timers = {}\n    scene.retimed",
    ),
    ("each journey makes its own move", _FIRST_MOVE, "if mine and not scene.moves:"),
    ("at most one move", _FIRST_MOVE, "if mine:"),
    (
        "beyond lateness means older by more than lateness",
        "late = scene.at < scene.clock - definition.lateness",
        "late = scene.at <= scene.clock - definition.lateness",
    ),
    (
        "beyond lateness an event is late",
        "late = scene.at < scene.clock - definition.lateness",
        "late = scene.at < scene.clock - 365 * 86_400_000_000",
    ),
    (
        "what was counted while a click was held is kept for it, however short lateness is",
        "scene.clock - journey.memory, since)",
        "scene.clock - definition.lateness, since)",
    ),
    ("a click is not late for having been held", " and not isinstance(scene.event, Held)", ""),
    (
        "a disengagement click is no activity",
        "watching = scene.active and journey.watches and not calm",
        "watching = scene.active and journey.watches",
    ),
    (
        "an older activity does not take back a newer one",
        "    if at > run.active:\n        run.active = at\n",
        "    run.active = at\n",
    ),
    (
        "an older open does not take back a newer one",
        "        if at > run.opened:\n            run.opened = at\n",
        "        run.opened = at\n",
    ),
    (
        "per campaign counts nothing without campaign and message",
        "            if leaf.grouped and not _group(scene, hit):\n                continue\n",
        "            if leaf.grouped:\n                _group(scene, hit)\n",
    ),
    (
        "per campaign counts an entering event only with campaign or message",
        "if leaf.back is None and not (leaf.grouped and not _group(scene, hit)):",
        "if leaf.back is None and (not leaf.grouped or _group(scene, hit) >= 0):",
    ),
    (
        "a campaign and a message of one name are two",
        'hit.group = number(f"message {send.message}")',
        'hit.group = number(f"campaign {send.message}")',
    ),
)

STEP = _of(
    "step.py",
    ("a test event does nothing", "    if event.test:\n", "    if False:\n"),
    (
        "a duplicate stops",
        "        return Step(state, (), (), Outcome.DUPLICATE)\n",
        "        new = copy_state(state)\n",
    ),
    (
        "the memory of duplicates has two generations",
        "        state.seen_before.find(key) >= 0 and _seen(state.seen_before, key)\n",
        "        False\n",
    ),
    ("events are remembered for 72 h", "clock - state.seen_since > SEEN_SPAN or", "clock > state.seen_since or"),
    ("an erased contact stays gone", "    elif state.erased:\n", "    elif False:\n"),
    (
        "what a machine did satisfies nothing",
        "    elif route.always_acts or event.machine is not True:\n",
        "    else:\n",
    ),
    (
        "a custom activity of a machine satisfies nothing",
        "if event.machine is True or (email and not sends.is_human(event)):",
        "if email and not sends.is_human(event):",
    ),
    (
        "withdrawals, re-subscriptions and complaints always act",
        "    elif route.always_acts or event.machine is not True:\n",
        "    elif event.machine is not True:\n",
    ),
    (
        "what an uncertain recipient did satisfies nothing",
        "if event.machine is True or (email and not sends.is_human(event)):",
        "if event.machine is True:",
    ),
    (
        "a variant of a click satisfies nothing",
        "    if counted:\n        if unknown:\n",
        "    if True:\n        if unknown:\n",
    ),
    ("a variant of an open satisfies nothing", "    elif counted:\n        _act(", "    else:\n        _act("),
    ("a variant earns no credit", "if not counted or (send.campaign is None and", "if (send.campaign is None and"),
    (
        "a click under two links of a condition is one match",
        "if interest.several and len(touches) > 1:",
        "if False:",
    ),
    (
        "without consent no engagement is stored or moves",
        "    if journey.name in scene.refused:\n        return False\n",
        "",
    ),
    (
        "without consent no click earns credit",
        "if lens.consent is not None and not _consented(state, lens, at):",
        "if False:",
    ),
    ("refusals for lack of consent are counted", "tuple(counts), outcome, scene.refused)", "tuple(counts), outcome)"),
    (
        "engagement older than the consent is refused",
        "return 0 <= register.consent_since(state, consent) <= at",
        "return 0 <= register.consent_since(state, consent)",
    ),
    (
        "consent given starts the timers that need it",
        "            if given:\n                retime_all(scene, journey, run)\n",
        "            if given:\n                pass\n",
    ),
    (
        "consent withdrawn ends the run",
        "    if run.status == ACTIVE:\n        exit_run(scene, journey, run, CONSENT_EXIT",
        "    if False:\n        exit_run(scene, journey, run, CONSENT_EXIT",
    ),
    (
        "consent withdrawn for all purposes reaches every journey that asks",
        "names = (name for name in program.by_purpose if name not in state.consents)",
        "names = ()",
    ),
    (
        "consent withdrawn deletes the clicks that earn credit",
        "if not given and journey.lens in state.lenses:",
        "if False:",
    ),
    ("consent withdrawn deletes the times of activity", "    run.active = run.opened = run.clicked = 0\n", ""),
    (
        "consent withdrawn deletes what was counted without a run",
        "        del run.facts[key]\n    retime_all",
        "        pass\n    retime_all",
    ),
    (
        "records of one event go by journey name",
        "        moves.sort(key=lambda move: move.journey)\n",
        "        pass\n",
    ),
    ("beyond lateness a click is never held", "if at < scene.clock - journey.definition.lateness:", "if False:"),
    ("what a held click earned already counts once", 'elif click.waiting[""] != EARNED:', "else:"),
    (
        "only unjudged clicks are evidence of a burst",
        "        if unknown:\n            machines.remember",
        "        if True:\n            machines.remember",
    ),
    (
        "a click that a machine made is not credited or counted",
        "            _mark_machine(scene, lens.key)\n            continue\n",
        "            _mark_machine(scene, lens.key)\n",
    ),
    ("a held click acts with its own time", "    scene.at = click.at\n", "    scene.at = click.due\n"),
    (
        "a held click is judged again when it is due",
        "or machines.in_burst(state, known.bots, scene.send, click.at):",
        "or False:",
    ),
    (
        "a held click in a tie sorts as kind hold",
        "first = min(_pending(program, new), default=None)",
        "first = min(_pending(program, new), key=lambda t: (*t[:2], t.kind.replace('hold', ''), *t[3:]), default=None)",
    ),
    (
        "the first timer fires first",
        "first = min(_pending(program, new), default=None)",
        "first = max(_pending(program, new), default=None)",
    ),
    (
        "timers in a tie go by kind before rule path",
        "leaf.kind, leaf.path, leaf.order",
        "leaf.path, leaf.kind, leaf.order",
    ),
    (
        "timers in a tie go by journey before kind",
        "first = min(_pending(program, new), default=None)",
        "first = min(_pending(program, new), key=lambda t: (t.due, t.kind, t.journey, t.path), default=None)",
    ),
    ("membership carries stalled", 'flags=("stalled",) if run.stalled else ()', "flags=()"),
    ("each journey judges clicks with its own settings", "if pair[0].lens == lens.key]", "if True]"),
)

FOLD = _of(
    "fold.py",
    ("a test event does not move the clock", "if at > before and not event.test:", "if at > before:"),
    ("the clock is the largest time so far", "if at > before and not event.test:", "if not event.test:"),
    (
        "before an event fires only what the clock has passed",
        "                self._fire(self.clock, steps, undo)\n            contact",
        "                self._fire(self.clock + 1, steps, undo)\n            contact",
    ),
    (
        "timers fire before the event that moved the clock",
        """\
            if self.clock > before and self.clock > self._next:
                self._fire(self.clock, steps, undo)
            contact""",
        "            contact",
    ),
    (
        "a timer that an event makes due in the past fires at once",
        "if step.state is not None and 0 < step.state.due < self.clock:",
        "if False:",
    ),
    (
        "at the end fires also what is due exactly at the clock",
        "self._fire(self.clock + 1, steps, undo, most)",
        "self._fire(self.clock, steps, undo)",
    ),
    (
        "timers of one time fire by contact",
        "first = base if own is None or (base is not None and base <= own) else own",
        "first = base if own is None or (base is not None and base[0] < own[0]) else own",
    ),
)

_ALL_HOLD = """\
            if not part(facts, at, register):
                return False
        return True
"""
_ANY_HOLDS = """\
            if part(facts, at, register):
                return True
        return False
"""

CONDITIONS = _of(
    "conditions.py",
    ("one matching event is enough", "        run.facts[self.key] = 1\n", "        pass\n"),
    ("times N: at least N", "isinstance(seen, int) and seen >= self.n", "isinstance(seen, int) and seen > self.n"),
    ("times N: not fewer", "isinstance(seen, int) and seen >= self.n", "isinstance(seen, int) and seen > 0"),
    (
        "per campaign: N different campaigns",
        "if len(seen) < self.n and hit.group not in seen:",
        "if len(seen) < self.n:",
    ),
    (
        "within: exactly D ago is out",
        "sum(1 for time in times if oldest < time <= at)",
        "sum(1 for time in times if oldest <= time <= at)",
    ),
    (
        "within: what is younger than the event is out",
        "sum(1 for time in times if oldest < time <= at)",
        "sum(1 for time in times if oldest < time)",
    ),
    (
        "within: the event itself is in",
        "sum(1 for time in times if oldest < time <= at)",
        "sum(1 for time in times if oldest < time < at)",
    ),
    (
        "per campaign within: exactly D ago is out",
        "for time, group in pairs if oldest < time <= at}",
        "for time, group in pairs if oldest <= time <= at}",
    ),
    (
        "per campaign within: different campaigns",
        "len({group for time, group in pairs if oldest < time <= at})",
        "len([group for time, group in pairs if oldest < time <= at])",
    ),
    ("a timer with D fires at D", "isinstance(fired, int) and fired <= at", "isinstance(fired, int) and fired < at"),
    (
        "a timer condition is judged at the event's own time",
        "isinstance(fired, int) and fired <= at",
        "isinstance(fired, int)",
    ),
    (
        "a timer condition ends when what it measures happens",
        "        del run.facts[self.key]\n        return due",
        "        return due",
    ),
    (
        "stuck counts setbacks as moves",
        "        return run.since if run.status == ACTIVE else 0\n",
        "        return run.settled if run.status == ACTIVE else 0\n",
    ),
    ("after counts from the run's begin", "return run.began if self.back is None else run.since", "return run.since"),
    (
        "after as a way out counts from the setback on",
        "return run.began if self.back is None else run.since",
        "return run.began",
    ),
    (
        "quiet as a way out counts from the setback on",
        "run.settled if self.back is None else run.since)",
        "run.settled)",
    ),
    (
        "quiet counts from the last move into a stage",
        "            active = max(active, run.settled if self.back is None else run.since)\n",
        "            active = active or run.settled\n",
    ),
    (
        "opens count for quiet where it says so",
        "max(run.active, run.opened) if self.opens else run.active",
        "run.active",
    ),
    (
        "opens count for no other quiet",
        "max(run.active, run.opened) if self.opens else run.active",
        "max(run.active, run.opened)",
    ),
    (
        "quiet does not run without consent",
        "        if since < 0:\n            return 0\n        active",
        "        active",
    ),
    ("quiet counts from when consent was given", "return max(active, since) if active else 0", "return active"),
    (
        "no_click counts once per campaign",
        "            counted += (at, hit.group)\n",
        "            counted += (at, hit.group + len(counted))\n",
    ),
    (
        "sends before the click count no more",
        "if at < run.clicked or at < run.recovered or",
        "if at < run.recovered or",
    ),
    (
        "sends before the recovery count no more",
        "if at < run.clicked or at < run.recovered or",
        "if at < run.clicked or",
    ),
    (
        "a send at the time of the click that arrives after it counts",
        "if at < run.clicked or",
        "if at <= run.clicked or",
    ),
    (
        "no_click as a way out counts sends from the setback on",
        " or (self.back is not None and at < run.since)",
        "",
    ),
    (
        "no_click is due at the N-th send plus grace",
        "return counted[place] + self.grace",
        "return counted[-2] + self.grace",
    ),
    ("no_click waits for its grace", "return counted[place] + self.grace", "return counted[place]"),
    ("no_click fires once per count", "or counted[0] or since < 0", "or since < 0"),
    ("no_click does not run without consent", "or counted[0] or since < 0", "or counted[0]"),
    (
        "no_click counts from when consent was given",
        "            if counted[place] >= since:\n",
        "            if True:\n",
    ),
    (
        "no_click counts a campaign after consent that was sent before it too",
        "return not newest or hit.since > 0 or not",
        "return not newest or not",
    ),
    ("no_click counts a send out of order in its place", "return not newest or hit", "return hit"),
    (
        "a click restarts the count: a send at its time is gone",
        "for pair in _pairs(counted[1:]) if pair[0] > at]",
        "for pair in _pairs(counted[1:]) if pair[0] >= at]",
    ),
    ("a click restarts no send that is younger", "for pair in _pairs(counted[1:]) if pair[0] > at]", "for pair in ()]"),
    ("no_click holds from its firing on", "bool(counted) and 0 < counted[0] <= at", "False"),
    (
        "no_click is judged at the event's own time",
        "bool(counted) and 0 < counted[0] <= at",
        "bool(counted) and 0 < counted[0]",
    ),
    (
        "missed: a then at the due time disarms",
        "if armed and armed <= at <= armed + span:",
        "if armed and armed <= at < armed + span:",
    ),
    (
        "missed: a then at the arming disarms",
        "if armed and armed <= at <= armed + span:",
        "if armed and armed < at <= armed + span:",
    ),
    (
        "missed: a then before the arming does not disarm",
        "if armed and armed <= at <= armed + span:",
        "if armed and at <= armed + span:",
    ),
    ("missed: a then holds it no more", "            if at >= fired - span:\n                fired = 0\n", ""),
    (
        "missed: armed by first when not armed",
        "if bits & FIRST and not armed and consented",
        "if bits & FIRST and consented",
    ),
    ("missed: a first before consent does not arm", "consented = 0 <= hit.since <= at", "consented = True"),
    ("missed: a then that arrived first disarms", " and not any(at <= then <= at + span for then in thens):", ":"),
    (
        "missed: a then that arrived first disarms, ends included",
        "not any(at <= then <= at + span for then in thens)",
        "not any(at < then < at + span for then in thens)",
    ),
    (
        "missed: an event matching both disarms, then arms",
        "if bits & FIRST and not armed and consented",
        "if bits & FIRST and not armed and not bits & THEN and consented",
    ),
    (
        "missed: after firing it is unarmed",
        "(0, due, *_listed(run.facts, self.key)[2:])",
        "(due, due, *_listed(run.facts, self.key)[2:])",
    ),
    ("missed is judged at the event's own time", "bool(known) and 0 < known[1] <= at", "bool(known) and 0 < known[1]"),
    (
        "missed does not run without consent",
        "known[0] and 0 <= since <= known[0] else 0",
        "known[0] and since <= known[0] else 0",
    ),
    (
        "missed: what was armed before consent does not fire",
        "known[0] and 0 <= since <= known[0] else 0",
        "known[0] and 0 <= since else 0",
    ),
    (
        "missed: what was armed before consent does not keep it from being armed",
        "        if armed < hit.since:\n            armed = 0",
        "        if False:\n            armed = 0",
    ),
    ("all: every part holds", _ALL_HOLD, _ANY_HOLDS),
    ("any: one part is enough", _ANY_HOLDS, _ALL_HOLD),
    (
        "not: the part does not hold",
        "return lambda facts, at, register: not part(facts, at, register)",
        "return lambda facts, at, register: True",
    ),
)

COMPILE = _of(
    "compile.py",
    (
        "a leaf under not is no event of its own",
        "self._tree(condition.part, place, touches=False)",
        "self._tree(condition.part, place, touches=True)",
    ),
    (
        "a setback that says nothing ends by recover",
        'until, path = recover, "recover"',
        'until, path = None, "recover"',
    ),
    (
        "unsubscribed ends when no matching withdrawal is left",
        "return lambda facts, at, register: not withdrawn(facts, at, register)",
        "return lambda facts, at, register: True",
    ),
    (
        "no_click counts campaigns that match sends",
        "if entry.of_campaign is None or (campaign is not None and entry.of_campaign(campaign)):",
        "if entry.of_campaign is None or campaign is not None:",
    ),
    (
        "messages without a campaign count only without sends",
        "if entry.of_campaign is None or (campaign is not None and entry.of_campaign(campaign)):",
        "if entry.of_campaign is None or campaign is None or entry.of_campaign(campaign):",
    ),
    (
        "clicked any leaves out disengagement links",
        "found += (entry for entry in route.calm_free if journeys[entry.journey].disengaged.isdisjoint(links))",
        "found += route.calm_free",
    ),
    (
        "the default until acts only by a word on the scopes of its condition",
        "self._add(type_, leaf, match=lambda event, at, state: covers(*scope_of(event)))",
        "self._add(type_, leaf)",
    ),
    (
        "a re-subscription is activity",
        "            for type_ in SUBSCRIPTIONS:\n                self._shared.watch(self._index, type_)\n",
        "",
    ),
    ("a custom activity is activity", "            self._shared.watch_custom(self._index)\n", ""),
    (
        "a custom activity that a condition names is activity",
        "            if is_custom(type_):\n                route.watchers",
        "            if False:\n                route.watchers",
    ),
    (
        "a custom activity that a condition of another journey names is activity",
        "Route(engaging=True, watchers=list(self.custom.watchers))",
        "Route(engaging=True)",
    ),
    (
        "no_click counts deliveries, or what was sent",
        'self._add(f"email.{condition.count}", leaf',
        'self._add("email.delivered", leaf',
    ),
    (
        "after_send means less than D",
        "if send is None or at - send[0] >= span:",
        "if send is None or at - send[0] > span:",
    ),
    (
        "campaign beside after_send names that send",
        "            parts.append(_after_send(condition.after_send, campaign))\n            campaign = None\n",
        "            parts.append(_after_send(condition.after_send, None))\n",
    ),
    ("where must hold", "            parts.append(lambda event, at, state: passes(event))\n", "            pass\n"),
    (
        "the campaign must match",
        "elif campaign is None:\n            route.plain",
        "elif True:\n            route.plain",
    ),
    ("the campaign must match on a click too", "match = _together([_of_campaign(campaign), match])", "pass"),
    (
        "subscribed is of the scopes that it names",
        "self._enter(type_, condition, leaf, bits, lambda event, at, state: covers(*scope_of(event)))",
        "self._enter(type_, condition, leaf, bits)",
    ),
    ("timers of different rules are their own", "owner = place.path\n", "owner = ''\n"),
    ("quiet counts custom activities", "            self._shared.watch_custom(self._index)\n", ""),
    ("the stages say what counts while there is no run", "            leaf.staged = True\n", "            pass\n"),
)

REGISTER = _of(
    "register.py",
    (
        "the newest word by its own time decides a withdrawal",
        "if known is not None and known.at > at and (key == own or not known.in_force):",
        "if False:",
    ),
    (
        "of equal times the withdrawal that arrived last decides",
        "if known is not None and known.at > at and",
        "if known is not None and known.at >= at and",
    ),
    (
        "the newest word by its own time gives back",
        "if known is None or known.at <= at:\n            _write",
        "if True:\n            _write",
    ),
    (
        "an api gives back only what the same account reported",
        'if event.method == "api" and event.account is not None:',
        "if False:",
    ),
    (
        "an account's late withdrawal is overtaken by what the person gave back",
        "for key in {own, whole}:",
        "for key in {own}:",
    ),
    (
        "contact.subscribed gives back all mail and no list",
        'keys = [key for key in state.register if _spoken_of(key).partition(":")[0] in GLOBAL]',
        "keys = list(state.register)",
    ),
    (
        "contact.subscribed gives back domain too",
        'keys = [key for key in state.register if _spoken_of(key).partition(":")[0] in GLOBAL]',
        'keys = ["all"]',
    ),
    (
        "contact.subscribed overtakes an older withdrawal yet to arrive",
        "overtaken = scope in GLOBAL and state.subscribed > at",
        "overtaken = False",
    ),
    (
        "all means scope all and domain",
        "return lambda scope, id_: scope in GLOBAL",
        'return lambda scope, id_: scope == "all"',
    ),
    ("a scope is given back exactly by its id", 'return f"{scope}:{id_}" if id_ else scope', "return scope"),
    (
        "a plain glob means listed scopes",
        "if scope not in LISTED if named is None else scope != named:",
        "if named is not None and scope != named:",
    ),
    (
        "a named scope is that scope",
        "if scope not in LISTED if named is None else scope != named:",
        "if scope not in LISTED:",
    ),
    ("an id must match its glob", "return names is None or names(id_)", "return True"),
    ("a withdrawal holds while it is in force", "        if not word.in_force:\n            continue\n", ""),
    ("after_send on a withdrawal means less than D", "word.at - word.send_at < span", "word.at - word.send_at <= span"),
    (
        "campaign beside after_send names the send of the withdrawal",
        "if soon and (names is None or (word.send_campaign is not None and names(word.send_campaign))):",
        "if soon:",
    ),
    ("consent denied is the default", 'return 0 if consent.default == "granted" else -1', "return 0"),
    ("default granted", 'return 0 if consent.default == "granted" else -1', "return -1"),
    ("given again restarts nothing", "unbroken = given and known.given", "unbroken = False"),
    (
        "given and withdrawn order by their own times",
        "        if known is None or known.at <= at:\n            newest",
        "        if True:\n            newest",
    ),
    (
        "no purpose given means all",
        "    if purpose:\n        purpose = purpose[:TEXT_LIMIT]",
        "    if True:\n        purpose = (purpose or 'none')[:TEXT_LIMIT]",
    ),
)

SENDS = _of(
    "sends.py",
    ("last_send is the newest delivery", "if state.last_send is None or state.last_send.at <= at:", "if True:"),
    (
        "after_send looks at deliveries at or before the event",
        "    if last.at <= at:\n        return last.at, last.campaign\n",
        "    return last.at, last.campaign\n",
    ),
    (
        "a message is delivered before a click on it is judged",
        "return known.at if known.at <= at else None",
        "return known.at",
    ),
    ("a click is judged by the last delivery before it", "    if 0 < known.again <= at:\n", "    if False:\n"),
    ("a click is judged by no delivery after it", "    if 0 < known.again <= at:\n", "    if 0 < known.again:\n"),
)

MACHINES = _of(
    "machines.py",
    ("instant: its end is included", "if at - delivered <= bots.instant or", "if at - delivered < bots.instant or"),
    ("instant", "if at - delivered <= bots.instant or", "if"),
    (
        "no known earlier delivery: counts at once",
        "    if delivered is None:\n        return HUMAN\n",
        "    if delivered is None:\n        return MACHINE\n",
    ),
    (
        "a click near the delivery is held",
        "return at + bots.hold if at - delivered <= bots.near else HUMAN",
        "return HUMAN",
    ),
    ("near: its end is included", "at - delivered <= bots.near", "at - delivered < bots.near"),
    ("a click far from the delivery counts at once", " if at - delivered <= bots.near else HUMAN", ""),
    ("bots off", "    if bots is None:\n        return HUMAN\n", "    bots = bots or Bots()\n"),
    ("burst: so many distinct URLs", "+ span}) >= bots.burst_urls", "+ span}) > bots.burst_urls"),
    (
        "burst: distinct URLs",
        "len({url for time, url in near if start <= time <= start + span})",
        "len([url for time, url in near if start <= time <= start + span])",
    ),
    ("burst: URLs of the message", "if of == key and at - span", "if at - span"),
    ("burst: the end of its span is included", "if start <= time <= start + span}", "if start <= time < start + span}"),
    (
        "burst: some span around the click, not only after it",
        "at - span <= time <= at + span]",
        "at <= time <= at + span]",
    ),
    (
        "burst: some span around the click, not only before it",
        "at - span <= time <= at + span]",
        "at - span <= time <= at]",
    ),
    ("burst compares URLs as raw text", "number(url))", 'number(url.partition("?")[0]))'),
)

FIELDS = _of(
    "where.py",
    (
        "where looks in data before metadata",
        "for place in (event.data, event.metadata):",
        "for place in (event.metadata, event.data):",
    ),
    ("where looks in metadata", "for place in (event.data, event.metadata):", "for place in (event.data,):"),
    (
        "where looks in the event's own fields",
        "        if attribute is None:\n            return None\n",
        "        return None\n",
    ),
    ("booleans are not numbers", "    if isinstance(value, bool):\n        return bool\n", ""),
    (
        "eq of another kind is false",
        "return lambda found: _kind(found) is kind and found == value",
        "return lambda found: found == value or str(found) == str(value)",
    ),
    (
        "ne of a missing field or another kind is false",
        "return lambda found: _kind(found) is kind and found != value",
        "return lambda found: found != value",
    ),
    (
        "gt",
        '"gt": lambda found: _kind(found) is kind and found > value',
        '"gt": lambda found: _kind(found) is kind and found >= value',
    ),
    (
        "ge",
        '"ge": lambda found: _kind(found) is kind and found >= value',
        '"ge": lambda found: _kind(found) is kind and found > value',
    ),
    (
        "lt",
        '"lt": lambda found: _kind(found) is kind and found < value',
        '"lt": lambda found: _kind(found) is kind and found <= value',
    ),
    (
        "le",
        '"le": lambda found: _kind(found) is kind and found <= value',
        '"le": lambda found: _kind(found) is kind and found < value',
    ),
    ("matches is unanchored", "regex.search(found", "regex.fullmatch(found"),
    ("prefix is the beginning", "found.startswith(prefix)", "prefix in found"),
    (
        "exists false holds for what is missing",
        "return lambda found: (found is not None) == wanted",
        "return lambda found: found is not None",
    ),
    (
        "all tests of a where hold",
        "all(passes(find(event)) for find, passes in checks)",
        "any(passes(find(event)) for find, passes in checks)",
    ),
    ("a glob matches the whole text", "return pattern.__eq__", "return lambda text: pattern in text"),
)

LINKS = _of(
    "links.py",
    ("letter case of the host is ignored", 'authority.rpartition("@")[2].lower()', 'authority.rpartition("@")[2]'),
    ("80 and 443 are default ports", ":(?:80|443)?$", ":(?:443)?$"),
    ("the fragment is ignored", 'rest = text.partition("#")[0]', "rest = text"),
    ("a trailing slash is ignored", "    while segments and not segments[-1]:\n        segments.pop()\n", ""),
    ("utm_ keys are ignored", 'for key, value in pairs if not key.startswith("utm_"))', "for key, value in pairs)"),
    ("a pattern with a query compares its keys", "if self._queries[place] <= given)", "if True)"),
    (
        "segments are split before percent-decoding",
        'segments = path.split("/") if slash else []',
        'segments = unquote(path).split("/") if slash else []',
    ),
    ("the path is percent-decoded", 'unquote(segment).replace(_END, "\\ufffd")', 'segment.replace(_END, "\\ufffd")'),
    ("* stays within one segment", '_IN_SEGMENT = r"[^\\x00]*"', '_IN_SEGMENT = r"(?s:.*)"'),
    ("** may be no segment", '_ANY_SEGMENTS = r"(?:\\x00[^\\x00]*)*"', '_ANY_SEGMENTS = r"(?:\\x00[^\\x00]*)+"'),
    (
        "** is any number of segments",
        '_ANY_SEGMENTS = r"(?:\\x00[^\\x00]*)*"',
        '_ANY_SEGMENTS = r"(?:\\x00[^\\x00]*)?"',
    ),
    (
        "*. is a sub-domain and not the domain itself",
        '_SUBDOMAINS = r"(?:[^\\x00.]+\\.)+"',
        '_SUBDOMAINS = r"(?:[^\\x00.]+\\.)*"',
    ),
)

DEFINITION = _of(
    "definition.py",
    ("lateness is 24 h by default", "    lateness: int = 24 * HOUR\n", "    lateness: int = 25 * HOUR\n"),
    (
        "the attribution window is 7 d by default",
        "    attribution: int = 7 * DAY\n",
        "    attribution: int = 6 * DAY\n",
    ),
    ("instant is 2 s by default", "    instant: int = 2 * MICROS\n", "    instant: int = 1 * MICROS\n"),
    ("a burst has 3 URLs by default", "    burst_urls: int = 3\n", "    burst_urls: int = 2\n"),
    (
        "a burst is within 10 s by default",
        "    burst_within: int = 10 * MICROS\n",
        "    burst_within: int = 9 * MICROS\n",
    ),
    ("near is 5 min by default", "    near: int = 5 * MINUTE\n", "    near: int = 4 * MINUTE\n"),
    ("a click is held for 10 s by default", "    hold: int = 10 * MICROS\n", "    hold: int = 9 * MICROS\n"),
)

SIMULATE = _of(
    "simulate.py",
    ("the clock runs on to until", "fold.run_to(max(self.clock, until or 0))", "fold.run_to(self.clock)"),
)

PARSE = _of(
    "parse.py",
    ("a file that says no lateness means 24 h", "self._duration) or DAY,", "self._duration) or 2 * DAY,"),
    (
        "a file that says no window means 7 d",
        "return 7 * DAY if window is None else",
        "return 8 * DAY if window is None else",
    ),
    (
        "a file that says no consent default means denied",
        'pairs.get("default"), ("granted", "denied"), "denied")',
        'pairs.get("default"), ("granted", "denied"), "granted")',
    ),
    ("a file that says no enter means any", '("any", "first"), "any")', '("any", "first"), "first")'),
    (
        "reenter always is after nothing",
        'return Reenter(after=0) if word == "always" else None',
        'return Reenter(after=DAY) if word == "always" else None',
    ),
    (
        "a file that says no count means delivered",
        'pairs.get("count"), ("delivered", "sent"), "delivered")',
        'pairs.get("count"), ("delivered", "sent"), "sent")',
    ),
    ("conditions nest to depth 4", "\nDEPTH = 4\n", "\nDEPTH = 5\n"),
    ("times is at most 100", "\nTIMES = 100\n", "\nTIMES = 101\n"),
    (
        "a setback without a way out is an error",
        "if until is None and recover is None and not isinstance(entry.when, Unsubscribed):",
        "if False:",
    ),
    (
        "default from: every stage below the goal's",
        "below_goal = stages[: stages.index(goal.reach)] if goal",
        "below_goal = stages if goal",
    ),
    ("not takes one event condition without within", "Unsubscribed) or within is not None:", "Unsubscribed):"),
    (
        "after_send is refused on email.delivered",
        'if options["after_send"] is not None and type_ == "email.delivered":',
        "if False:",
    ),
    ("any and all are reserved names of links", 'if name in ("any", "all"):', "if False:"),
    (
        "first and then of missed have no times",
        "isinstance(condition, EventIs | Clicked | Opened | Subscribed) and condition.counting == Counting()",
        "isinstance(condition, EventIs | Clicked | Opened | Subscribed)",
    ),
    ("clicked names links of the journey", "            elif name not in self._links:\n", "            elif False:\n"),
    ("the goal is a stage", "        if reach not in (*stages, _UNREAD):\n", "        if False:\n"),
    ("only stages stall", '(stages, "stage") if line.kind == "stall" else', '(stages, "stage") if False else'),
    ("tests have names of their own", "        self._unique_tests(read)\n", ""),
    ("a misspelt key is read as what was meant", "key = replace(key, text=meant)", "pass"),
)

SWITCH = _of(
    "switch.py",
    ("a changed definition is one whose version differs", "if was == version and name in old:", "if False:"),
    ("a journey that comes back has lost its timers", "was = old.get(name) or gone.get(name)", "was = old.get(name)"),
    ("finish leaves runs on their version", 'if journey.on_change == "finish":', "if False:"),
    ("keep and reevaluate leave nobody behind", 'if journey.on_change == "finish":', "if True:"),
    (
        "runs finish only on what can still be had",
        "if v != version and known((name, v)))",
        "if v != version)",
    ),
    (
        "runs on the version that comes back are on no older one",
        "if v != version and known((name, v)))",
        "if known((name, v)))",
    ),
    (
        "runs that finish go on when their journey stays as it is",
        "                stay[name] = older\n",
        "                pass\n",
    ),
    ("a contact is brought up once", "state.epoch < self.epoch and", "state.epoch <= self.epoch and"),
    ("an erased contact is left alone", "state.epoch < self.epoch and not state.erased", "state.epoch < self.epoch"),
    (
        "moves of a change come in order of journey names",
        "for name in sorted(new.runs):",
        "for name in sorted(new.runs, reverse=True):",
    ),
    (
        "only journeys that changed are brought up",
        "if journey is None or (name, 0) not in switch.before:",
        "if journey is None:",
    ),
    ("who is brought up is on the version in force", "            run.version = 0\n", ""),
    (
        "timers are those of the new definition",
        "            retime_all(scene, journey, run)\n            if",
        "            if",
    ),
    ("reevaluate looks at every condition", 'if journey.definition.on_change == "reevaluate":', "if False:"),
    ("keep moves nobody by facts", 'if journey.definition.on_change == "reevaluate":', "if True:"),
    (
        "engagement seen through a lens that is gone is gone",
        "if key in lenses or lens.held}",
        "}",
    ),
    (
        "a new due time is found",
        "    new.due = first_due(new)\n    return Step(new, tuple(scene.moves)",
        "    return Step(new, tuple(scene.moves)",
    ),
    ("only active runs finish", "    if run.status != ACTIVE:\n        return False\n    mark", "    mark"),
    ("a run is marked with the version that it finishes on", "    run.version = mark\n", ""),
    (
        "counts of conditions that are gone go",
        "for key, fact in run.facts.items() if key in journey.leaves}",
        "for key, fact in run.facts.items()}",
    ),
    (
        "counts of unchanged conditions are kept",
        "for key, fact in run.facts.items() if key in journey.leaves}",
        "for key, fact in run.facts.items() if False}",
    ),
    (
        "consent that is asked for now deletes engagement",
        "if consent is not None and register.consent_since(scene.state, consent) < 0:",
        "if False:",
    ),
    ("only engagement goes without consent", "if journey.leaves[key].engagement]:", "]:"),
    ("a setback that is still there goes on", "if set_back and run.place in journey.setback_rank:", "if False:"),
    ("who stays by name is not migrated", "elif set_back or journey.stages[stage].name != run.place:", "else:"),
    ("another goal is judged anew", "if old is None or old.goal != journey.definition.goal:", "if False:"),
    ("the same goal is reached once", "if old is None or old.goal != journey.definition.goal:", "if True:"),
    ("a stage stays by its name", "    if name in journey.rank:\n        return journey.rank[name]\n", ""),
    ("the nearest lower stage that exists", "for known in reversed(lower) if known", "for known in lower if known"),
    ("lower than the stage that is gone", "lower = names[: names.index(name)] if", "lower = names if"),
    (
        "a stage without a lower one that exists becomes the first",
        "for known in reversed(lower) if known in journey.rank), 0)",
        "for known in reversed(lower) if known in journey.rank), len(journey.stages) - 1)",
    ),
    (
        "of what a new consent forbids the counts are deleted too",
        "            del run.facts[key]\n",
        "            pass\n",
    ),
    (
        "a changed goal counts as reached from its stage on",
        "run.peaked = best >= journey.goal_rank",
        "run.peaked = False",
    ),
    (
        "a goal that was reached in time is lost when the new one is not reached",
        "run.goal = run.goal and run.peaked",
        "run.goal = run.goal",
    ),
    (
        "reevaluate looks at exits, setbacks and stages",
        "else bool(leaf.exits or leaf.setbacks or leaf.stages)",
        "else bool(leaf.setbacks or leaf.stages)",
    ),
    (
        "a run that began two changes ago finishes on its own version",
        "        mark = number(old.version) if old is not None else 0\n    if",
        "        mark = number(old.version) if old is not None else 0\n"
        "    else:\n        mark = number(switch.before[name, 0].version)  # type: ignore[union-attr]\n    if",
    ),
    (
        "runs on older versions finish too",
        "before[name] = (was, *older)",
        "before[name] = (was,)",
    ),
    (
        "a journey that comes back unchanged is brought up too",
        "if was == version and name in old:",
        "if was == version:",
    ),
    (
        "runs that are over are not waited for",
        "for name, run in state.runs.items() if run.version and run.status == ACTIVE)",
        "for name, run in state.runs.items() if run.version)",
    ),
    (
        "a change acts at the clock of its point",
        "return Switch(epoch, clock, program, before, recounted)",
        "return Switch(epoch, clock + 1_000_000, program, before, recounted)",
    ),
    (
        "a count goes on under another number",
        "run.facts = going_on | {",
        "run.facts = {",
    ),
    (
        "of several counts the fullest goes on",
        'key=lambda leaf: getattr(leaf, "n", 1))',
        'key=lambda leaf: -getattr(leaf, "n", 1))',
    ),
    (
        "keep starts a changed count anew",
        'if old is not None and program.by_name[name].definition.on_change == "reevaluate"',
        "if old is not None",
    ),
)

ACTIVATION = _of(
    "engine/definitions.py",
    (
        "a definition in force stays stored",
        "found = {*self.versions.items(), *self.parked.items()}",
        "found = {*self.parked.items()}",
    ),
    (
        "the definition of a journey that is gone stays stored",
        "found = {*self.versions.items(), *self.parked.items()}",
        "found = {*self.versions.items()}",
    ),
    (
        "what contacts are being brought up from stays stored",
        "        if self.slot is not None:\n",
        "        if False:\n",
    ),
    (
        "what runs finish on stays stored",
        "        found |= {(name, version) for name, counts in self.stays.items() for version in counts}\n",
        "",
    ),
    (
        "a change begins at the first contact",
        "slot=0 if before else None",
        "slot=1 if before else None",
    ),
    (
        "a change that concerns nobody is done at once",
        "slot=0 if before else None",
        "slot=0",
    ),
    (
        "a journey that is gone is remembered",
        "parked = {name: version for name, version in old.items() if name not in versions}",
        "parked: dict[str, str] = {}",
    ),
    (
        "a journey that is there is not remembered as gone",
        "parked = {name: version for name, version in old.items() if name not in versions}",
        "parked = dict(old)",
    ),
    (
        "the old one is dropped when nobody is left",
        "for version, n in counts.items() if n > 0} for name, counts in stays.items()}",
        "for version, n in counts.items()} for name, counts in stays.items()}",
    ),
    (
        "runs that end on an older version are counted",
        "n + finished.get((name, number(version)), 0)",
        "n",
    ),
    (
        "counts of an older version go on over the next change",
        "now.stays.get(name, {}).get(version, 0)",
        "0",
    ),
    (
        "no older version is dropped while contacts are brought up",
        "    if slot is None:\n        before = {}\n",
        "    if True:\n        before = before if slot is not None else {}\n",
    ),
    (
        "a change goes on where it stands",
        "slot, slots = listing.next_slot, listing.slots",
        "slot, slots = None, listing.slots",
    ),
    (
        "a text that means something else by now is no definition",
        "if journey is not None and (journey.name, journey.version) == version else None",
        "if journey is not None else None",
    ),
)

MUTATIONS: tuple[Mutation, ...] = (
    *MOVES,
    *STEP,
    *FOLD,
    *CONDITIONS,
    *COMPILE,
    *REGISTER,
    *SENDS,
    *MACHINES,
    *FIELDS,
    *LINKS,
    *DEFINITION,
    *SIMULATE,
    *PARSE,
    *SWITCH,
    *ACTIVATION,
)
