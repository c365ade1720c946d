"""The naive interpreter: all events are kept, every question is answered from the whole history.

``run`` gives the records of journeys.md section 3 as plain dicts, times as microseconds. A word in a comment is a word
of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.oracle import matching
from tests.oracle.language import SECOND, TIMERS, Condition, Journey

EMAIL = frozenset(
    "email." + name
    for name in (
        "sent deferred delivered bounced dropped failed opened clicked complained unsubscribed resubscribed "
        "subscribed replied suppressed unknown"
    ).split()
)
CONTACT = frozenset("contact." + name for name in "subscribed consent_given consent_withdrawn erased".split())
ALWAYS_ACT = frozenset(
    "email.unsubscribed email.resubscribed email.subscribed contact.subscribed email.complained".split()
)
RESUBSCRIPTIONS = frozenset("email.resubscribed email.subscribed contact.subscribed".split())
UNCERTAIN = frozenset("email.opened email.clicked email.replied".split())


def micros(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * SECOND + moment.microsecond


@dataclass
class Fact:
    """An event as one journey knows it, from when it counts on (``seq``: for a held click, its release)."""

    event: dict[str, Any]
    t: int
    seq: int
    arrived: int
    last_send: Fact | None = None
    """The contact's last delivered send before it, as far as known on arrival."""
    machine: bool = False
    consented: bool = True
    """On arrival, the word on consent that it may be included."""
    given: int | None = None
    """On arrival, since when consent was given, where it was ever needed to be."""

    @property
    def type(self) -> str:
        return self.event["type"]

    @property
    def satisfies(self) -> bool:
        if self.type in ALWAYS_ACT:
            return True
        return not self.machine and (self.certain or self.type not in UNCERTAIN)

    @property
    def certain(self) -> bool:
        return self.event.get("recipient_certainty") in (None, "exact")

    @property
    def custom(self) -> bool:
        return self.type not in EMAIL and self.type not in CONTACT


@dataclass(frozen=True)
class Timer:
    due: int
    kind: str
    path: str
    key: tuple[Any, ...]
    """Fires once per key."""
    leaf: Condition | None = None
    click: Fact | None = None


@dataclass
class Fired:
    timer: Timer
    seq: int


@dataclass
class Run:
    number: int
    entry: int
    """``seq`` of the step that began it: the entering event is the first counted."""
    stage: str
    best: str
    start: int
    records: list[dict[str, Any]] = field(default_factory=list)
    setback: str | None = None
    setback_seq: int = 0
    setback_at: int = 0

    @property
    def moves(self) -> list[dict[str, Any]]:
        """Real moves: a stall is none."""
        return [record for record in self.records if record["kind"] != "stall"]


class Case:
    """One contact in one journey."""

    def __init__(self, journey: Journey, contact: str) -> None:
        self.journey, self.contact = journey, contact
        self.facts: list[Fact] = []
        self.held: list[Fact] = []
        self.unjudged: list[Fact] = []
        """Clicks of unknown origin, by which others are judged: of the contact, so no consent of a journey matters."""
        self.refused = 0
        self.runs: list[Run] = []
        self.active: Run | None = None
        self.exited: tuple[str, int, int] | None = None
        """Name, ``at`` and ``seq`` of the last exit."""
        self.records: list[dict[str, Any]] = []
        self.fired: list[Fired] = []
        self.withdrawn = 0
        """``seq`` of the last withdrawal of consent: what ``quiet`` counted from went with the engagement."""
        self.pending_now: list[Timer] | None = None
        self.names = [stage.name for stage in journey.stages]

    # What is counted.

    @property
    def base(self) -> int:
        """Facts from this ``seq`` on belong to the run; without one, to the time since the last exit."""
        if self.active:
            return self.active.entry
        return self.exited[2] + 1 if self.exited else 0

    def scope(self, since_setback: bool) -> list[Fact]:
        start = self.active.setback_seq + 1 if since_setback and self.active else self.base
        return [fact for fact in self.facts if fact.seq >= start]

    # Links and humans.

    def disengages(self, url: str | None) -> bool:
        return any(
            means == "disengagement" and matching.link(pattern, url) for pattern, means in self.journey.links.values()
        )

    def is_human_click(self, fact: Fact) -> bool:
        """One that ends ``quiet`` and restarts ``no_click``."""
        return fact.type == "email.clicked" and fact.satisfies and not self.disengages(fact.event.get("url"))

    # Conditions.

    def matches(self, leaf: Condition, fact: Fact) -> bool:
        """Whether the fact is an event of the leaf; ``times`` and ``within`` aside."""
        if leaf.kind in ("any", "all"):
            return any(self.matches(part, fact) for part in leaf.parts)
        if not fact.satisfies:
            return False
        event = fact.event
        if leaf.kind == "event" and event["type"] != leaf.of:
            return False
        if leaf.kind == "clicked" and not self.click_matches(leaf, fact):
            return False
        if leaf.kind == "opened" and fact.type != "email.opened":
            return False
        if leaf.kind == "subscribed" and not gives(leaf.of, event):
            return False
        if leaf.kind == "unsubscribed" and not (fact.type == "email.unsubscribed" and names_scope(leaf.of, event)):
            return False
        if not all(matching.passes(event, *test) for test in leaf.where):
            return False
        if leaf.per_campaign and send_key(event) is None:
            return False
        if leaf.after_send is not None:
            return self.came_after_send(leaf, fact)
        return leaf.campaign is None or matching.glob(leaf.campaign, event.get("campaign"))

    def click_matches(self, leaf: Condition, fact: Fact) -> bool:
        url = fact.event.get("url")
        if fact.type != "email.clicked":
            return False
        if leaf.of is None:
            return not self.disengages(url)
        return any(matching.link(self.journey.links[name][0], url) for name in leaf.of)

    def came_after_send(self, leaf: Condition, fact: Fact) -> bool:
        send = fact.last_send
        if send is None or fact.t - send.t >= leaf.after_send:  # type: ignore[operator]
            return False
        return leaf.campaign is None or matching.glob(leaf.campaign, send.event.get("campaign"))

    def holds(self, condition: Condition, t: int, path: str, since_setback: bool = False) -> bool:
        if condition.kind == "any":
            return any(self.holds(part, t, path, since_setback) for part in condition.parts)
        if condition.kind == "all":
            return all(self.holds(part, t, path, since_setback) for part in condition.parts)
        if condition.kind == "not":
            return not self.holds(condition.parts[0], t, path, since_setback)
        if condition.kind == "unsubscribed":
            return bool(self.withdrawals(condition))
        if condition.kind in ("event", "clicked", "opened", "subscribed"):
            found = [fact for fact in self.scope(since_setback) if self.matches(condition, fact)]
            if condition.within is not None:
                found = [fact for fact in found if t - condition.within < fact.t <= t]
            if not condition.per_campaign:
                return len(found) >= condition.times
            return len({send_key(fact.event) for fact in found}) >= condition.times
        return self.timer_holds(condition, t, path, since_setback)

    def withdrawals(self, condition: Condition) -> list[Fact]:
        """Withdrawals in force that match."""
        return [fact for fact in self.in_force() if self.matches(condition, fact)]

    def in_force(self) -> list[Fact]:
        """Per scope, id and account the newest event by its own time decides; what ``method: api`` gives back speaks
        for its own account, every other re-subscription for all of them."""
        newest: dict[tuple[str, str | None], dict[tuple[str | None, str | None] | None, Fact]] = {}
        for fact in sorted(self.facts, key=lambda fact: (fact.t, fact.seq)):
            account = (fact.event.get("provider"), fact.event["account"]) if fact.event.get("account") else None
            if fact.type == "contact.subscribed":
                for key in newest:
                    if key[0] in ("all", "domain"):
                        newest[key] = {}
            elif fact.type == "email.unsubscribed":
                newest.setdefault(scope_of(fact.event), {})[account] = fact
            elif fact.type in ("email.resubscribed", "email.subscribed"):
                words = newest.get(scope_of(fact.event), {})
                if fact.event.get("method") == "api" and account is not None:
                    words.pop(account, None)
                else:
                    words.clear()
        return [fact for words in newest.values() for fact in words.values()]

    def timer_holds(self, leaf: Condition, t: int, path: str, since_setback: bool) -> bool:
        """From its firing on, until what it measures happens: the same count is still the present one."""
        fired = [one for one in self.fired if one.timer.path == path and one.timer.leaf == leaf]
        if leaf.kind == "missed":
            _, open_ = self.missed(leaf, path, since_setback)
            return open_ is not None and open_ <= t
        key = self.present_count(leaf, path, since_setback)
        return key is not None and any(one.timer.key == key[1] and one.timer.due <= t for one in fired)

    # Timers.

    def present_count(self, leaf: Condition, path: str, since_setback: bool) -> tuple[int | None, Any] | None:
        """When the leaf is due and the key of its count; due is None while the count is short."""
        run = self.active
        granted, given = self.consent()
        if leaf.kind == "after":
            if run is None:
                return None
            start = run.setback_at if since_setback else run.start
            return start + leaf.span, (run.number, run.setback_seq if since_setback else 0, start)
        if leaf.kind == "stuck":
            if run is None:
                return None
            last = run.moves[-1]
            return last["at"] + leaf.span, (run.number, last["move"])
        if not granted:
            return None
        if leaf.kind == "quiet":
            anchor = self.quiet_since(leaf, since_setback)
            if anchor is None:
                return None
            anchor = max(anchor, given) if given is not None else anchor
            return anchor + leaf.span, (self.span_of_count(since_setback), anchor)
        restart, sends = self.sends_since_restart(leaf, since_setback, given)
        due = sends[leaf.sends - 1].t + leaf.span if len(sends) >= leaf.sends else None
        return due, (self.span_of_count(since_setback), restart)

    def span_of_count(self, since_setback: bool) -> tuple[int, bool, int]:
        """Counts begin anew with a run, with its end, and with the setback that they can end."""
        run = self.active
        return len(self.runs), run is not None, run.setback_seq if run and since_setback else 0

    def quiet_since(self, leaf: Condition, since_setback: bool) -> int | None:
        """The later of activity and the last move into a stage, or the setback. What came before may be younger than
        its start; without a run something must have come since the last exit, and what is younger still counts."""
        run = self.active
        since = self.scope(since_setback)
        if run or any(self.ends_quiet(leaf, fact) for fact in since):
            since = self.facts
        times = [fact.t for fact in since if fact.seq > self.withdrawn and self.ends_quiet(leaf, fact)]
        if run and since_setback:
            times.append(run.setback_at)
        elif run:
            times += [
                record["at"] for record in run.records if record["kind"] in ("enter", "reenter", "advance", "recover")
            ]
        return max(times, default=None)

    def ends_quiet(self, leaf: Condition, fact: Fact) -> bool:
        if fact.type in RESUBSCRIPTIONS or self.is_human_click(fact):
            return True
        opened = leaf.opens and fact.type == "email.opened"
        return (fact.custom or opened) and fact.satisfies

    def sends_since_restart(
        self, leaf: Condition, since_setback: bool, given: int | None
    ) -> tuple[tuple[int, int] | None, list[Fact]]:
        """The newest restart and the sends after it, once per campaign, in the order of their own times. What ends a
        setback counts from the setback on: sends, like activity for ``quiet``, by their own times."""
        facts = self.scope(since_setback)
        if since_setback and self.active:
            facts = [fact for fact in facts if fact.t >= self.active.setback_at]
        restarts = [(fact.t, fact.seq) for fact in self.facts if self.is_human_click(fact)]
        if self.active:
            restarts += [(record["at"], record["seq"]) for record in self.active.records if record["kind"] == "recover"]
        restart = max(restarts, default=None)
        sends: dict[tuple[str, str], Fact] = {}
        for fact in sorted(facts, key=lambda fact: (fact.t, fact.seq)):
            key = self.send_of_journey(fact)
            if fact.type != leaf.at or not fact.satisfies or key is None or key in sends:
                continue
            if (restart is None or (fact.t, fact.seq) > restart) and (given is None or fact.t >= given):
                sends[key] = fact
        return restart, list(sends.values())

    def send_of_journey(self, fact: Fact) -> tuple[str, str] | None:
        campaign = fact.event.get("campaign")
        if self.journey.sends and not any(matching.glob(pattern, campaign) for pattern in self.journey.sends):
            return None
        return send_key(fact.event)

    def missed(self, leaf: Condition, path: str, since_setback: bool) -> tuple[int | None, int | None]:
        """(arming that is pending, due time of a firing that still holds), told from the beginning."""
        first, then = leaf.parts
        facts = self.scope(since_setback)
        start = self.active.setback_seq + 1 if since_setback and self.active else self.base
        firings = [
            (one.seq, one.timer.due)
            for one in self.fired
            if one.timer.path == path and one.timer.leaf == leaf and one.seq >= start
        ]
        story: list[tuple[int, Fact | int]] = [(fact.seq, fact) for fact in facts] + list(firings)  # type: ignore[operator]
        armed: int | None = None
        open_: int | None = None
        for seq, what in sorted(story, key=lambda one: one[0]):
            if isinstance(what, int):
                armed, open_ = None, what
                continue
            arms, answers = self.matches(first, what), self.matches(then, what)
            if (arms or answers) and armed is not None and what.given is not None and armed < what.given:
                armed = None  # consent was withdrawn since: a new first arms anew
            if answers:
                if open_ is not None and what.t >= open_ - leaf.span:
                    open_ = None
                if armed is not None and armed <= what.t <= armed + leaf.span:
                    armed = None
            if armed is None and what.consented and arms:
                answered = any(
                    fact.seq < seq and what.t <= fact.t <= what.t + leaf.span and self.matches(then, fact)
                    for fact in facts
                )
                armed = None if answered else what.t
        return armed, open_

    def pending_timers(self) -> list[Timer]:
        """All that is pending; nothing in it depends on the clock, so it is worked out anew only after a step."""
        if self.pending_now is None:
            self.pending_now = list(self.timers())
        return self.pending_now

    def timers(self) -> Iterator[Timer]:
        hold = self.journey.bots["hold"] if self.journey.bots else 0
        for click in self.held:
            yield Timer(click.t + hold, "hold", "", ("hold", click.arrived), click=click)
        for path, condition, since_setback in self.rules():
            for leaf in condition.leaves():
                yield from self.pending(leaf, path, since_setback)
        run = self.active
        if run and run.setback is None:
            stage = self.journey.stages[self.names.index(run.stage)]
            last = run.moves[-1]
            if stage.stalls_after is not None:
                key = ("stall", run.number, last["move"])
                if not any(one.timer.key == key for one in self.fired):
                    yield Timer(last["at"] + stage.stalls_after, "stall", stage.path, key)

    def pending(self, leaf: Condition, path: str, since_setback: bool) -> Iterator[Timer]:
        if leaf.kind == "missed":
            armed, _ = self.missed(leaf, path, since_setback)
            if armed is not None and self.consented(armed):
                yield Timer(armed + leaf.span, "missed", path, ("missed", armed), leaf)
        elif leaf.kind in ("no_click", "quiet", "stuck", "after"):
            count = self.present_count(leaf, path, since_setback)
            if count is None or count[0] is None:
                return
            due, key = count
            if not any(
                one.timer.path == path and one.timer.leaf == leaf and one.timer.key == key for one in self.fired
            ):
                yield Timer(due, leaf.kind, path, key, leaf)

    def rules(self) -> Iterator[tuple[str, Condition, bool]]:
        """Every condition that can act in this run: path, condition, whether it counts from the setback on."""
        journey = self.journey
        for rule in (*journey.stages, *journey.setbacks, *journey.exits):
            yield rule.path, rule.when, False
        way_out = self.way_out()
        if way_out is not None and isinstance(way_out[1], Condition):
            yield way_out[0], way_out[1], True

    # Consent.

    def consent(self) -> tuple[bool, int | None]:
        """(given now, since when); since is None where it was never needed to be given."""
        if self.journey.consent is None:
            return True, None
        granted = self.journey.consent[1]
        since: int | None = None
        for fact in sorted(self.facts, key=lambda fact: (fact.t, fact.seq)):
            if self.is_about_consent(fact):
                given = fact.type == "contact.consent_given"
                if given and not granted:
                    since = fact.t
                granted = given
        return granted, since

    def consented(self, t: int) -> bool:
        granted, since = self.consent()
        return granted and (since is None or t >= since)

    def is_about_consent(self, fact: Fact) -> bool:
        if self.journey.consent is None or fact.type not in ("contact.consent_given", "contact.consent_withdrawn"):
            return False
        purpose = matching.look_up(fact.event, "purpose")
        return purpose is matching.MISSING or purpose == self.journey.consent[0]

    # Moves.

    def way_out(self) -> tuple[str, Condition | str] | None:
        """Path and condition of the end of the present setback; ``never`` and ``given back`` are no conditions."""
        if not self.active or self.active.setback is None:
            return None
        setback = next(rule for rule in self.journey.setbacks if rule.name == self.active.setback)
        if setback.until is not None:
            return f"{setback.path}.until", setback.until
        if setback.when.kind == "unsubscribed":
            return f"{setback.path}.until", "given back"
        return ("recover", self.journey.recover) if self.journey.recover else None

    def step(self, t: int, seq: int, fact: Fact | None, timer: Timer | None, only_exits: bool = False) -> None:
        """At most one move, in the order of section 3."""
        now = _Now(self, t, fact, timer)
        if self.active is None:
            if not only_exits:
                self.enter(t, seq, now)
            return
        for rule in self.journey.exits:
            if now.acts(rule.path, rule.when):
                self.leave(rule.name, rule.path, t, seq, now)
                return
        if only_exits:
            return
        order = [rule.name for rule in self.journey.setbacks]
        present = order.index(self.active.setback) if self.active.setback else -1
        for place in range(len(order) - 1, present, -1):
            rule = self.journey.setbacks[place]
            if self.active.stage in rule.from_ and now.acts(rule.path, rule.when):
                self.active.setback, self.active.setback_seq = rule.name, seq
                record = self.record(t, seq, "setback", rule.name, rule.path, now)
                self.active.setback_at = record["at"]
                return
        way_out = self.way_out()
        if way_out is not None and self.is_out(*way_out, now):
            held = [place for place, rule in enumerate(self.journey.stages) if self.holds(rule.when, t, rule.path)]
            best = max([self.names.index(self.active.best), *held])
            self.to_stage(best, t, seq, "recover", way_out[0], now)
            return
        if way_out is not None and way_out[1] == "never":
            return
        for place in range(len(self.names) - 1, self.names.index(self.active.best), -1):
            rule = self.journey.stages[place]
            if now.acts(rule.path, rule.when):
                self.to_stage(place, t, seq, "advance", rule.path, now)
                return

    def is_out(self, path: str, until: Condition | str, now: _Now) -> bool:
        if until == "never":
            return False
        if isinstance(until, Condition):
            return now.acts(path, until, since_setback=True)
        setback = next(rule for rule in self.journey.setbacks if rule.name == self.active.setback)  # type: ignore[union-attr]
        gives_back = now.fact is not None and gives(setback.when.of, now.fact.event)
        return gives_back and not self.withdrawals(setback.when)

    def enter(self, t: int, seq: int, now: _Now) -> None:
        if self.exited:
            name, at, _ = self.exited
            if self.journey.reenter_after is None or name in self.journey.never_after:
                return
            if not self.journey.reenter_always and t < at + self.journey.reenter_after:
                return
        last = 0 if self.journey.enter == "first" else len(self.names) - 1
        for place in range(last, -1, -1):
            rule = self.journey.stages[place]
            if now.acts(rule.path, rule.when):
                self.active = Run(len(self.runs) + 1, seq, rule.name, rule.name, t)
                self.runs.append(self.active)
                kind = "enter" if len(self.runs) == 1 else "reenter"
                record = self.record(t, seq, kind, rule.name, rule.path, now)
                self.active.start = record["at"]
                return

    def to_stage(self, place: int, t: int, seq: int, kind: str, path: str, now: _Now) -> None:
        run = self.active
        assert run is not None
        former = run.setback or run.stage
        run.setback, run.stage = None, self.names[place]
        run.best = self.names[max(place, self.names.index(run.best))]
        self.record(t, seq, kind, run.stage, path, now, former)

    def leave(self, name: str, path: str, t: int, seq: int, now: _Now) -> None:
        record = self.record(t, seq, "exit", name, path, now)
        self.exited = name, record["at"], seq
        self.active = None

    def record(
        self, t: int, seq: int, kind: str, to: str, path: str, now: _Now, former: str | None = None
    ) -> dict[str, Any]:
        run = self.active
        assert run is not None
        before = former if former is not None else run.records[-1]["to"] if run.records else None
        at = max([t, *(record["at"] for record in run.records)])
        record = {
            "journey": self.journey.name,
            "contact": self.contact,
            "run": f"{self.contact}/{self.journey.name}/{run.number}",
            "from": before,
            "to": to,
            "kind": kind,
            "at": at,
            "rule": path,
            "cause": now.fact.event["id"] if now.fact else None,
            "timer": (now.timer.kind, now.timer.due) if now.timer else None,
            "credit": None if path == "consent" else self.credit(now),
            "last_send": self.last_send(),
            "goal": self.reaches_goal(run, kind, to, at),
            "move": len(run.records) + 1,
            "dwell_s": (at - run.moves[-1]["at"]) / SECOND if run.records else None,
            "best": run.best,
            "late": bool(now.fact and self.records and t < self.records[-1]["at"]),
            "seq": seq,
        }
        run.records.append(record)
        self.records.append(record)
        return record

    def reaches_goal(self, run: Run, kind: str, to: str, at: int) -> bool:
        """The first move to S or above, within D of the run's start."""
        if self.journey.goal is None or kind not in ("enter", "reenter", "advance", "recover"):
            return False
        goal = self.names.index(self.journey.goal)
        moves = [record for record in run.moves if record["to"] in self.names]
        if self.names.index(to) < goal or any(self.names.index(record["to"]) >= goal for record in moves):
            return False
        within = self.journey.goal_within
        return within is None or not run.records or at - run.start < within

    def credit(self, now: _Now) -> dict[str, Any] | None:
        if now.fact and now.fact.type in EMAIL and send_key(now.fact.event):
            return _credit(now.fact, "direct")
        clicks = [
            fact
            for fact in self.facts
            if fact.type == "email.clicked"
            and fact.satisfies
            and send_key(fact.event)
            and now.t - self.journey.attribution <= fact.t <= now.t
        ]
        newest = _newest(clicks)
        return _credit(newest, "last_click") if newest else None

    def deliveries(self) -> list[Fact]:
        """Of one message, however often it was delivered, the first and the newest: a state is bounded (section 6)."""
        kept: dict[tuple[str, str | None], list[Fact]] = {}
        for fact in self.facts:
            if fact.type == "email.delivered":
                message = fact.event.get("message")
                key = ("campaign", fact.event.get("campaign")) if message is None else ("message", message)
                known = sorted([*kept.get(key, ()), fact], key=lambda one: (one.t, one.seq))
                kept[key] = known if len(known) < 3 else [known[0], known[-1]]
        return [fact for facts in kept.values() for fact in facts]

    def last_send(self) -> dict[str, Any] | None:
        send = _newest(self.deliveries())
        return None if send is None else _send(send)

    # Events and timers.

    def event(self, event: dict[str, Any], t: int, clock: int, seq: int) -> None:
        if event.get("variant") is not None:
            return
        late = clock - t > self.journey.lateness
        earlier = [send for send in self.deliveries() if send.t <= t]
        fact = Fact(event, t, seq, seq, _newest(earlier), event.get("machine") is True)
        engagement = fact.type in UNCERTAIN or fact.custom
        if fact.type == "email.clicked" and fact.certain and event.get("machine") is None:
            self.unjudged.append(fact)
        if engagement and not self.consented(t):
            self.refused += 1
            return
        unjudged = fact.type == "email.clicked" and fact.satisfies and event.get("machine") is None
        if unjudged and self.journey.bots and self.suspect(fact, late):
            return
        self.facts.append(fact)
        fact.consented, fact.given = self.consented(t), self.consent()[1]
        words = [one for one in self.facts if self.is_about_consent(one)]
        if fact.type == "contact.consent_withdrawn" and fact is _newest(words):
            self.withdraw(t, seq, fact)
            return
        if not late or fact.type in ("email.unsubscribed", "email.complained"):
            self.step(t, seq, fact, None, only_exits=late)

    def suspect(self, click: Fact, late: bool) -> bool:
        """Judge a click on arrival; True when it is held."""
        bots = self.journey.bots
        assert bots is not None
        age = self.age(click)
        if age is None:
            return False
        if age <= bots["instant"]:
            click.machine = True
            return False
        if age <= bots["near"] and not late:
            self.held.append(click)
            return True
        click.machine = self.in_burst(click)
        return False

    def age(self, click: Fact) -> int | None:
        """Time since the newest delivery of its message that is not younger; None where there is none."""
        message = click.event.get("message")
        ages = [
            click.t - send.t
            for send in self.deliveries()
            if message is not None and send.event.get("message") == message and send.t <= click.t
        ]
        return min(ages, default=None)

    def in_burst(self, click: Fact) -> bool:
        """Whether some span of 10 s that contains the click holds 3 distinct URLs of the message, all unjudged."""
        bots = self.journey.bots
        assert bots is not None
        of_message = [
            (fact.t, fact.event.get("url"))
            for fact in self.unjudged
            if fact.event.get("message") == click.event.get("message") and fact.event.get("url") is not None
        ]
        for start in (click.t, *(t for t, _ in of_message)):
            end = start + bots["within"]
            urls = {url for t, url in of_message if start <= t <= end}
            if start <= click.t <= end and len(urls) >= bots["urls"]:
                return True
        return False

    def withdraw(self, t: int, seq: int, fact: Fact) -> None:
        """``contact.consent_withdrawn`` ends the run and deletes the stored engagement."""
        self.held = []
        self.withdrawn = seq
        self.facts = [one for one in self.facts if one.type not in UNCERTAIN and not one.custom]
        if self.active:
            self.leave("consent_withdrawn", "consent", t, seq, _Now(self, t, fact, None))

    def fire(self, timer: Timer, seq: int) -> None:
        if timer.click is not None:
            click = timer.click
            self.held.remove(click)
            click.machine = self.in_burst(click)
            click.seq = seq
            click.consented, click.given = self.consented(click.t), self.consent()[1]
            self.facts.append(click)
            self.step(click.t, seq, click, None)
            return
        self.fired.append(Fired(timer, seq))
        if timer.kind == "stall":
            assert self.active is not None
            stage = self.active.stage
            self.record(timer.due, seq, "stall", stage, timer.path, _Now(self, timer.due, None, timer))
            return
        self.step(timer.due, seq, None, timer)


@dataclass
class _Now:
    """The step that is being made: own time, and the event or timer that made it."""

    case: Case
    t: int
    fact: Fact | None
    timer: Timer | None

    def acts(self, path: str, condition: Condition, since_setback: bool = False) -> bool:
        """The step's event or timer is one of the condition's own leaves, and the condition holds."""
        own = any(self.is_own(path, leaf) for leaf in condition.leaves())
        return own and self.case.holds(condition, self.t, path, since_setback)

    def is_own(self, path: str, leaf: Condition) -> bool:
        if self.timer is not None:
            return self.timer.path == path and self.timer.leaf == leaf
        if leaf.kind in TIMERS or self.fact is None or not self.case.matches(leaf, self.fact):
            return False
        if leaf.kind != "unsubscribed":
            return True
        # A withdrawal that a newer word on its scope has overtaken is none.
        scope = scope_of(self.fact.event)
        return any(scope_of(one.event) == scope for one in self.case.in_force())


def scope_of(event: dict[str, Any]) -> tuple[str, str | None]:
    scope = event.get("scope") or "all"
    return (scope, None) if scope in ("all", "domain") else (scope, event.get("scope_id"))


def names_scope(of: Any, event: dict[str, Any]) -> bool:
    scope, id_ = scope_of(event)
    if of == "any":
        return True
    if of == "all":
        return scope in ("all", "domain")
    wanted, pattern = of
    if scope in ("all", "domain"):
        return False
    return wanted in (None, scope) and matching.glob(pattern, id_)


def gives(of: Any, event: dict[str, Any]) -> bool:
    if event["type"] == "contact.subscribed":
        return of in ("any", "all")
    return event["type"] in ("email.subscribed", "email.resubscribed") and names_scope(of, event)


def send_key(event: dict[str, Any]) -> tuple[str, str] | None:
    """The send that an event names: a campaign, or the message where there is none."""
    if event.get("campaign") is not None:
        return "campaign", event["campaign"]
    return None if event.get("message") is None else ("message", event["message"])


def _newest(facts: Iterable[Fact]) -> Fact | None:
    """By their own times, equal times by arrival."""
    return max(facts, key=lambda fact: (fact.t, fact.seq), default=None)


def _send(fact: Fact) -> dict[str, Any]:
    return {"campaign": fact.event.get("campaign"), "message": fact.event.get("message"), "at": fact.t}


def _credit(fact: Fact, how: str) -> dict[str, Any]:
    return {**_send(fact), "how": how}


def run(
    journeys: Iterable[Journey], events: Iterable[dict[str, Any]], until: int | None = None
) -> list[dict[str, Any]]:
    """All records in the order made. The clock follows the events, then runs to ``until``."""
    world = _World(sorted(journeys, key=lambda journey: journey.name))
    for event in events:
        world.event(event)
    world.fire(max(world.clock, until or 0) + 1)
    return world.out


def run_in_partition(
    journeys: Iterable[Journey], dated: Iterable[tuple[dict[str, Any], int]], until: int
) -> list[dict[str, Any]]:
    """The records of one contact, whose events come each with the clock that its partition had before it."""
    world = _World(sorted(journeys, key=lambda journey: journey.name))
    for event, clock in dated:
        world.clock = max(world.clock, clock)
        world.event(event)
    world.fire(max(world.clock, until) + 1)
    return world.out


class _World:
    def __init__(self, journeys: list[Journey]) -> None:
        self.journeys = journeys
        self.clock = 0
        self.seq = 0
        self.contacts: dict[str, list[Case]] = {}
        self.seen: dict[str, set[str]] = {}
        self.erased: set[str] = set()
        self.out: list[dict[str, Any]] = []

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def fire(self, before: int) -> None:
        """Timers due before that time, the first of all first, again and again."""
        while True:
            due = [
                ((timer.due, contact, case.journey.name, timer.kind, timer.path), case, timer)
                for contact, cases in self.contacts.items()
                for case in cases
                for timer in case.pending_timers()
                if timer.due < before
            ]
            if not due:
                return
            _, case, timer = min(due, key=lambda one: one[0])
            self.made(case, case.fire, timer, self.next_seq())

    def made(self, case: Case, step: Callable[..., None], *what: Any) -> None:
        known = len(case.records)
        case.pending_now = None
        step(*what)
        self.out += case.records[known:]

    def event(self, event: dict[str, Any]) -> None:
        if event.get("test"):
            return
        t, contact = micros(event["occurred_at"]), event["contact"]
        self.clock = max(self.clock, t)
        self.fire(self.clock)
        if contact in self.erased or event["id"] in self.seen.setdefault(contact, set()):
            return
        self.seen[contact].add(event["id"])
        if event["type"] == "contact.erased":
            self.contacts.pop(contact, None)
            self.erased.add(contact)
            return
        cases = self.contacts.setdefault(contact, [Case(journey, contact) for journey in self.journeys])
        for case in cases:
            self.made(case, case.event, event, t, self.clock, self.next_seq())
