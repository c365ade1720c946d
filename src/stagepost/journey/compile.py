"""From journeys to a Program: conditions compiled once to closures, indexed by what can touch them.

The index (``Route``) goes by event type, then campaign or link, so the cost of an event does not depend on conditions
that it cannot touch. Everything here is built once and only read afterwards; the caches inside hold answers of pure
functions. May not contain: moves, state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeVar

import re2

from stagepost.events import CONTACT_TYPES, DAY, EMAIL_TYPES, Event
from stagepost.journey import conditions as c
from stagepost.journey import definition as d
from stagepost.journey.conditions import EVERYWHERE, Holds, Leaf
from stagepost.journey.links import LinkSet
from stagepost.journey.register import any_withdrawn, compile_scopes, scope_of, still_withdrawn
from stagepost.journey.sends import RECORDERS, Recorder, last_delivery
from stagepost.journey.state import ACTIVE, ContactState, Run, number
from stagepost.journey.where import TextMatcher, compile_glob, compile_globs, compile_where, glob_regex

Match = Callable[[Event, int, ContactState], bool]
"""(event, its time, the contact after its facts were recorded) -> whether a leaf takes it."""

_L = TypeVar("_L", bound=Leaf)

SUBSCRIPTIONS = ("email.subscribed", "email.resubscribed", "contact.subscribed")
ENGAGEMENT = frozenset({"email.opened", "email.clicked", "email.replied"})
"""What needs consent, besides custom activities (journeys.md 3, Consent)."""

ALWAYS_ACT = frozenset({"email.unsubscribed", "email.complained", *SUBSCRIPTIONS})
"""Acts whoever sent it, machine or not (journeys.md 2, Machines); so does every ``contact.*``."""

COMMON_LENS = 0
"""The lens of the metrics, and of every journey with default ``bots`` and without ``consent``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One way in which an event of a type can touch a leaf."""

    journey: int
    touch: tuple[Leaf, int]
    """The leaf, with what the event is to it (``conditions.FIRST``, ``THEN``)."""
    match: Match | None
    of_campaign: TextMatcher | None = None
    """Asked once for each campaign, because the answer is the same for all its events."""


@dataclass(frozen=True, slots=True)
class Interest:
    """What one journey has to do with an event."""

    journey: JourneyProgram
    entries: tuple[Entry, ...]
    watches: bool
    """It keeps the time of such an event (``quiet``, ``no_click``)."""
    several: bool
    """Several entries are of one leaf, and can match together."""
    touches: tuple[tuple[Leaf, int], ...] | None
    """The leaves that any such event matches; None where that has to be found out for each event. Saves 0.6 us."""


@dataclass(slots=True)
class Route:
    """What an event of one type is, and all leaves that it can touch, by what that takes."""

    kind: str = "custom"
    """``email``, ``contact`` or ``custom``."""
    engaging: bool = False
    """Engagement: needs consent, and a person."""
    always_acts: bool = False
    """Machine or not."""
    active: bool = True
    """Activity: ``quiet`` or ``no_click`` may count from it."""
    record: Recorder | None = None
    """What it leaves on its send."""
    plain: list[Entry] = field(default_factory=list)
    by_campaign: dict[str, list[Entry]] = field(default_factory=dict)
    by_glob: dict[int, list[Entry]] = field(default_factory=dict)
    by_link: dict[int, list[Entry]] = field(default_factory=dict)
    calm_free: list[Entry] = field(default_factory=list)
    """``clicked: any``: links that mean disengagement left out."""
    watchers: list[int] = field(default_factory=list)
    """Journeys that keep the time of such an event (``quiet``, ``no_click``)."""
    facts_only: bool = False
    """No journey asks for such events, nothing but ``record`` has to do with them."""
    named: bool = False
    """Campaigns matter to some journey."""
    interests: Callable[[str | None, tuple[int, ...]], tuple[Interest, ...]] = lambda campaign, links: ()
    """(campaign, None where they do not matter; links of a click) -> what journeys have to do with it, in order."""


@dataclass(frozen=True, slots=True)
class StageRule:
    name: str
    path: str
    holds: Holds
    stalls_after: int | None


@dataclass(frozen=True, slots=True)
class SetbackRule:
    name: str
    path: str
    holds: Holds
    sources: frozenset[str]
    until: Holds | None
    """None: never."""
    until_path: str


@dataclass(frozen=True, slots=True)
class ExitRule:
    name: str
    path: str
    holds: Holds


@dataclass(frozen=True, slots=True)
class JourneyProgram:
    """One journey, compiled."""

    index: int
    mark: int
    """0 for the version in force; else ``number`` of an older one that some runs finish on."""
    definition: d.Journey
    name: str
    version: str
    stages: tuple[StageRule, ...]
    rank: dict[str, int]
    """Stage name to its place in the funnel."""
    setbacks: tuple[SetbackRule, ...]
    setback_rank: dict[str, int]
    exits: tuple[ExitRule, ...]
    leaves: dict[int, Leaf]
    places: dict[tuple[str, d.Condition], Leaf]
    """The leaf of a condition at a rule path: for those who explain."""
    timers: tuple[Leaf, ...]
    """Leaves with a timer over the run."""
    staged_timers: tuple[Leaf, ...]
    """Those that also run while there is no run."""
    back_timers: tuple[tuple[Leaf, ...], ...]
    """By setback, those that can end it."""
    activity_timers: tuple[Leaf, ...]
    """Those that activity moves."""
    no_clicks: tuple[Leaf, ...]
    watches: bool
    """Keeps the times of activity, because ``quiet`` or ``no_click`` counts from them."""
    stay_keys: frozenset[int]
    """Leaves that count from the last move on: ``stuck``, and those that can end a setback."""
    stall_key: int
    memory: int
    """How long after its own time an event may still act: ``lateness``, or the hold of a click where that is longer.
    What only older events could ask for need not be kept."""
    goal_rank: int
    """Larger than every rank when there is no goal."""
    lens: int
    disengaged: frozenset[int]
    """Link patterns that mean disengagement."""


@dataclass(frozen=True, slots=True)
class LensProgram:
    """How one group of journeys sees engagement; see ``state.Lens``."""

    key: int
    bots: d.Bots | None
    consent: d.Consent | None


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled journeys, in order of their names. ``versions``: journey name to version of its definition."""

    versions: dict[str, str]
    journeys: tuple[JourneyProgram, ...]
    by_name: dict[str, JourneyProgram]
    routes: dict[str, Route]
    custom: Route
    """For activities that no condition names."""
    links_of: Callable[[str], tuple[int, ...]]
    lenses: tuple[LensProgram, ...]
    """The common one first."""
    by_purpose: dict[str, tuple[int, ...]]
    """Consent purpose to journeys."""
    lateness: int
    """The longest of all journeys: what is older is late everywhere."""
    burst_keep: int
    """Clicks of unknown origin kept as evidence."""
    older: dict[tuple[str, int], JourneyProgram]
    """Versions that some runs finish on, by journey name and ``mark``; nearly always empty."""


def compile_program(journeys: Sequence[d.Journey], older: Sequence[d.Journey] = ()) -> Program:
    """Compile journeys, whose names must differ (``ValueError``). The order given does not matter.

    ``older``: versions that runs may still be on; each acts on the runs that are marked with it, and on no others.
    """
    ordered = sorted(journeys, key=lambda journey: journey.name)
    names = [journey.name for journey in ordered]
    if len(set(names)) != len(names):
        raise ValueError("two journeys have the same name")
    index = _Index()
    lenses = {COMMON_LENS: LensProgram(COMMON_LENS, d.Bots(), None)}
    compiled = []
    marks = [0] * len(ordered) + [number(journey.version) for journey in older]
    for place, journey in enumerate([*ordered, *older]):
        lens = _lens_of(journey)
        lenses.setdefault(lens.key, lens)
        compiled.append(_Builder(place, marks[place], journey, lens.key, index).build())
    purposes: dict[str, tuple[int, ...]] = {}
    for program in compiled:
        if (consent := program.definition.consent) is not None:
            purposes[consent.purpose] = (*purposes.get(consent.purpose, ()), program.index)
    globs_of = index.glob_matcher()
    for type_, route in (*index.routes.items(), ("", index.custom)):
        route.interests = _interests(route, compiled, globs_of)
        route.named = bool(
            route.by_campaign or route.by_glob or any(entry.of_campaign is not None for entry in route.plain)
        )
        asked = route.named or route.plain or route.by_link or route.calm_free or route.watchers
        told = route.record is not None or route.kind == "custom"
        judged = type_ == "email.clicked" or (route.engaging and purposes)
        route.facts_only = told and not (asked or judged)
    bots = [lens.bots for lens in lenses.values() if lens.bots is not None]
    return Program(
        versions={program.name: program.version for program in compiled if not program.mark},
        journeys=tuple(compiled),
        by_name={program.name: program for program in compiled if not program.mark},
        routes=index.routes,
        custom=index.custom,
        links_of=index.link_matcher(),
        lenses=tuple(lenses.values()),
        by_purpose=purposes,
        lateness=max((journey.lateness for journey in (*ordered, *older)), default=DAY),
        burst_keep=max(c.SLACK, *(lens.burst_urls + c.SLACK for lens in bots)),
        older={(program.name, program.mark): program for program in compiled if program.mark},
    )


def program_of(program: Program, name: str, run: Run | None) -> JourneyProgram | None:
    """The version of a journey that a run is on; None when the journey is gone."""
    if run is not None and run.version and run.status == ACTIVE:
        older = program.older.get((name, run.version))
        if older is not None:
            return older
    return program.by_name.get(name)


def _lens_of(journey: d.Journey) -> LensProgram:
    if journey.bots == d.Bots() and journey.consent is None:
        return LensProgram(COMMON_LENS, journey.bots, None)
    return LensProgram(number(f"lens {journey.bots!r} {journey.consent!r}"), journey.bots, journey.consent)


def _email_route(type_: str) -> Route:
    active = type_ in ("email.clicked", "email.opened", *SUBSCRIPTIONS)
    return Route("email", type_ in ENGAGEMENT, type_ in ALWAYS_ACT, active, RECORDERS.get(type_))


def _interests(
    route: Route, journeys: Sequence[JourneyProgram], globs_of: Callable[[str], Sequence[int]]
) -> Callable[[str | None, tuple[int, ...]], tuple[Interest, ...]]:
    """The index of a route as one function. A stream is of few campaigns and few sets of links, so answers are kept."""

    @lru_cache(maxsize=1024)
    def interests(campaign: str | None, links: tuple[int, ...]) -> tuple[Interest, ...]:
        found = list(route.plain)
        if campaign is not None:
            found += route.by_campaign.get(campaign, ())
            found += (entry for glob in globs_of(campaign) for entry in route.by_glob.get(glob, ()))
        found += (entry for link in links for entry in route.by_link.get(link, ()))
        # ``any`` leaves out disengagement links.
        found += (entry for entry in route.calm_free if journeys[entry.journey].disengaged.isdisjoint(links))
        by_journey: dict[int, list[Entry]] = {index: [] for index in route.watchers}
        for entry in found:
            if entry.of_campaign is None or (campaign is not None and entry.of_campaign(campaign)):
                by_journey.setdefault(entry.journey, []).append(entry)
        watched = frozenset(route.watchers)
        return tuple(
            _interest(journeys[index], tuple(entries), index in watched)
            for index, entries in sorted(by_journey.items())
        )

    return interests


def _interest(journey: JourneyProgram, entries: tuple[Entry, ...], watches: bool) -> Interest:
    several = len({entry.touch[0] for entry in entries}) < len(entries)
    ready = not several and all(entry.match is None for entry in entries)
    return Interest(journey, entries, watches, several, tuple(entry.touch for entry in entries) if ready else None)


class _Index:
    """Collects entries of all journeys, and the link and campaign patterns that they share."""

    def __init__(self) -> None:
        self.custom = Route(engaging=True)
        self.routes = {type_: _email_route(type_) for type_ in EMAIL_TYPES}
        self.routes |= {
            type_: Route("contact", always_acts=True, active=type_ in SUBSCRIPTIONS) for type_ in CONTACT_TYPES
        }
        self._links: dict[str, int] = {}
        self._globs: dict[str, int] = {}

    def route(self, type_: str) -> Route:
        """The route of a type. Custom activities named by a condition keep being watched like those that are not."""
        if type_ not in self.routes:
            self.routes[type_] = Route(engaging=True, watchers=list(self.custom.watchers))
        return self.routes[type_]

    def watch(self, journey: int, type_: str) -> None:
        self.route(type_).watchers.append(journey)

    def watch_custom(self, journey: int) -> None:
        self.custom.watchers.append(journey)
        for type_, route in self.routes.items():
            if is_custom(type_):
                route.watchers.append(journey)

    def link(self, pattern: str) -> int:
        return self._links.setdefault(pattern, len(self._links))

    def glob(self, pattern: str) -> int:
        return self._globs.setdefault(pattern, len(self._globs))

    def link_matcher(self) -> Callable[[str], tuple[int, ...]]:
        if not self._links:
            return lambda url: ()
        return LinkSet(tuple(self._links)).match

    def glob_matcher(self) -> Callable[[str], Sequence[int]]:
        if not self._globs:
            return lambda campaign: ()
        patterns = re2.Set.FullMatchSet()
        for pattern in self._globs:
            patterns.Add(glob_regex(pattern))
        patterns.Compile()

        return lambda campaign: patterns.Match(campaign.encode("utf-8", "surrogatepass")) or ()


def is_custom(type_: str) -> bool:
    """Whether an event type is a custom activity (design.md 3.1)."""
    return type_ not in EMAIL_TYPES and type_ not in CONTACT_TYPES


@dataclass(slots=True)
class _Place:
    """Where in the file a condition stands: which rule its leaves serve, and from when they count."""

    path: str
    exit: int | None = None
    setback: int | None = None
    stage: int | None = None
    back: frozenset[int] | None = None


class _Builder:
    """Compiles one journey."""

    def __init__(self, index: int, mark: int, journey: d.Journey, lens: int, shared: _Index) -> None:
        self._index = index
        self._mark = mark
        self._journey = journey
        self._lens = lens
        self._shared = shared
        self._leaves: dict[int, Leaf] = {}
        self._places: dict[tuple[str, d.Condition], Leaf] = {}
        self._meanings: dict[int, str] = {number(f"{journey.name} stall"): "stall"}
        self._links: dict[str, list[int]] = {}
        for link in journey.links:
            self._links.setdefault(link.name, []).append(shared.link(link.pattern))
        self._disengaged = frozenset(
            place for link in journey.links if link.means == "disengagement" for place in self._links[link.name]
        )
        self._counts_send = compile_globs(journey.sends)

    def build(self) -> JourneyProgram:
        journey = self._journey
        stages = tuple(
            StageRule(stage.name, stage.path, self._tree(stage.when, _Place(stage.path, stage=i)), stage.stalls_after)
            for i, stage in enumerate(journey.stages)
        )
        exits = tuple(
            ExitRule(exit_.name, exit_.path, self._tree(exit_.when, _Place(exit_.path, exit=i)))
            for i, exit_ in enumerate(journey.exits)
        )
        recover = self._recover()
        setbacks = tuple(self._setback(i, setback, recover) for i, setback in enumerate(journey.setbacks))
        leaves = sorted(self._leaves.values(), key=lambda leaf: leaf.order)
        timers = tuple(leaf for leaf in leaves if leaf.kind and leaf.back is None)
        rank = {stage.name: i for i, stage in enumerate(journey.stages)}
        self._watch(leaves)
        return JourneyProgram(
            index=self._index,
            mark=self._mark,
            definition=journey,
            name=journey.name,
            version=journey.version,
            stages=stages,
            rank=rank,
            setbacks=setbacks,
            setback_rank={setback.name: i for i, setback in enumerate(journey.setbacks)},
            exits=exits,
            leaves=self._leaves,
            places=self._places,
            timers=timers,
            staged_timers=tuple(leaf for leaf in timers if leaf.staged),
            back_timers=tuple(
                tuple(leaf for leaf in leaves if leaf.kind and leaf.back is not None and i in leaf.back)
                for i in range(len(setbacks))
            ),
            activity_timers=tuple(leaf for leaf in timers if leaf.kind in ("quiet", "no_click")),
            no_clicks=tuple(leaf for leaf in leaves if leaf.kind == "no_click"),
            watches=any(leaf.kind in ("quiet", "no_click") for leaf in leaves),
            stay_keys=frozenset(leaf.key for leaf in leaves if leaf.back is not None or leaf.kind == "stuck"),
            stall_key=number(f"{journey.name} stall"),
            memory=max(journey.lateness, journey.bots.hold if journey.bots is not None else 0),
            goal_rank=rank[journey.goal.reach] if journey.goal is not None else len(stages),
            lens=self._lens,
            disengaged=self._disengaged,
        )

    def _recover(self) -> Holds | None:
        """The shared way out; its leaves can end every setback that has none of its own."""
        if self._journey.recover is None:
            return None
        users = frozenset(
            i
            for i, setback in enumerate(self._journey.setbacks)
            if setback.until is None and not isinstance(setback.when, d.Unsubscribed)
        )
        return self._tree(self._journey.recover, _Place("recover", back=users))

    def _setback(self, i: int, setback: d.Setback, recover: Holds | None) -> SetbackRule:
        holds = self._tree(setback.when, _Place(setback.path, setback=i))
        until: Holds | None
        path = f"{setback.path}.until"
        if setback.until == "never":
            until = None
        elif setback.until is not None:
            until = self._tree(setback.until, _Place(path, back=frozenset({i})))
        elif isinstance(setback.when, d.Unsubscribed):
            until = self._given_back(setback.when, _Place(path, back=frozenset({i})))
        else:
            until, path = recover, "recover"
        return SetbackRule(setback.name, setback.path, holds, frozenset(setback.sources), until, path)

    def _given_back(self, condition: d.Unsubscribed, place: _Place) -> Holds:
        """The default way out of ``unsubscribed``: a re-subscription after which no matching withdrawal is left."""
        leaf = self._leaf(c.Signal, condition, place, touches=True)
        covers = compile_scopes(condition.scopes)
        for type_ in SUBSCRIPTIONS:
            self._add(type_, leaf, match=lambda event, at, state: covers(*scope_of(event)))
        withdrawn = _withdrawn(condition)
        return lambda facts, at, register: not withdrawn(facts, at, register)

    def _tree(self, condition: d.Condition, place: _Place, touches: bool = True) -> Holds:
        if isinstance(condition, d.AnyOf):
            return c.any_of(tuple(self._tree(part, place, touches) for part in condition.parts))
        if isinstance(condition, d.AllOf):
            return c.all_of(tuple(self._tree(part, place, touches) for part in condition.parts))
        if isinstance(condition, d.Not):
            return c.negation(self._tree(condition.part, place, touches=False))
        if isinstance(condition, d.Unsubscribed):
            fresh = self._key(condition, place) not in self._leaves
            signal = self._leaf(c.Signal, condition, place, touches)
            if fresh:
                self._match(condition, signal, c.MATCHED, in_force=True)
            return _withdrawn(condition)
        if isinstance(condition, d.NoClick | d.Quiet | d.Missed | d.Stuck | d.After):
            return self._timer(condition, place, touches)
        leaf = self._counter(condition, place, touches)
        return leaf.holds

    def _counter(
        self, condition: d.EventIs | d.Clicked | d.Opened | d.Subscribed, place: _Place, touches: bool
    ) -> Leaf:
        counting = condition.counting
        kind: type[Leaf]
        if counting.within is not None:
            kind = c.CampaignsWithin if counting.per_campaign else c.TimesWithin
        elif counting.per_campaign:
            kind = c.Campaigns
        else:
            kind = c.Times if counting.times > 1 else c.Once
        fresh = self._key(condition, place) not in self._leaves
        leaf = self._leaf(kind, condition, place, touches)
        if not fresh:
            return leaf
        leaf.kin = self._key(replace(condition, counting=replace(counting, times=1)), place)
        leaf.grouped = counting.per_campaign
        if isinstance(leaf, c.TimesWithin | c.CampaignsWithin):
            leaf.span = counting.within or 0
        if isinstance(leaf, c.Times | c.Campaigns | c.TimesWithin | c.CampaignsWithin):
            leaf.n = counting.times
        self._match(condition, leaf, c.MATCHED)
        return leaf

    def _timer(
        self, condition: d.NoClick | d.Quiet | d.Missed | d.Stuck | d.After, place: _Place, touches: bool
    ) -> Holds:
        fresh = self._key(condition, place) not in self._leaves
        leaf: Leaf
        if isinstance(condition, d.Missed):
            leaf = missed = self._leaf(c.MissedLeaf, condition, place, touches)
            missed.span = condition.within
            if fresh:
                self._match(condition.first, leaf, c.FIRST)
                self._match(condition.then, leaf, c.THEN)
        elif isinstance(condition, d.NoClick):
            leaf = no_click = self._leaf(c.NoClickLeaf, condition, place, touches)
            no_click.n, no_click.grace, no_click.grouped = condition.sends, condition.grace, True
            if fresh:
                of_campaign, match = (self._counts_send, None) if self._journey.sends else (None, _names_send)
                self._add(f"email.{condition.count}", leaf, match=match, of_campaign=of_campaign)
        elif isinstance(condition, d.Quiet):
            leaf = quiet = self._leaf(c.QuietLeaf, condition, place, touches)
            quiet.span, quiet.opens = condition.span, condition.opens
        elif isinstance(condition, d.Stuck):
            leaf = stuck = self._leaf(c.StuckLeaf, condition, place, touches)
            stuck.span = condition.span
        else:
            leaf = after = self._leaf(c.AfterLeaf, condition, place, touches)
            after.span = condition.span
        return leaf.holds

    def _key(self, condition: d.Condition, place: _Place) -> int:
        """Says what is counted, and from when: equal conditions share their count, an edited file keeps the others'.

        Timers do not share, because each rule's timer is a step of its own (journeys.md 3, step 0).
        """
        owner = ""
        if place.back is not None or isinstance(condition, d.NoClick | d.Quiet | d.Missed | d.Stuck | d.After):
            owner = place.path
        links = [(link.name, link.pattern, link.means) for link in self._journey.links if _names(condition, link)]
        sends = self._journey.sends if isinstance(condition, d.NoClick) else ()
        meaning = repr((owner, condition, links, sends))
        key = number(meaning)
        while self._meanings.setdefault(key, meaning) != meaning:
            key = number(f"{key} {meaning}")
        return key

    def _leaf(self, kind: type[_L], condition: d.Condition, place: _Place, touches: bool) -> _L:
        key = self._key(condition, place)
        leaf = self._leaves.get(key)
        if leaf is None:
            leaf = self._leaves[key] = kind(key, len(self._leaves), place.path, place.back)
        assert isinstance(leaf, kind)
        self._places[place.path, condition] = leaf
        leaf.reach = max(leaf.reach, EVERYWHERE if place.stage is None else place.stage)
        if place.stage is not None:
            leaf.staged = True
        if touches:
            leaf.until = leaf.until or place.back is not None
            leaf.exits = _with(leaf.exits, place.exit)
            leaf.setbacks = _with(leaf.setbacks, place.setback)
            leaf.stages = _with(leaf.stages, place.stage)
        return leaf

    def _match(self, condition: d.Condition, leaf: Leaf, bits: int, in_force: bool = False) -> None:
        """Enter everything that matches ``condition`` into the index, as ``bits`` for ``leaf``."""
        if isinstance(condition, d.AnyOf):
            for part in condition.parts:
                self._match(part, leaf, bits)
        elif isinstance(condition, d.EventIs):
            self._enter(condition.type, condition, leaf, bits)
        elif isinstance(condition, d.Opened):
            self._enter("email.opened", condition, leaf, bits)
        elif isinstance(condition, d.Clicked):
            self._enter("email.clicked", condition, leaf, bits)
        elif isinstance(condition, d.Subscribed):
            covers = compile_scopes(condition.scopes)
            for type_ in SUBSCRIPTIONS:
                self._enter(type_, condition, leaf, bits, lambda event, at, state: covers(*scope_of(event)))
        elif isinstance(condition, d.Unsubscribed):
            covers = compile_scopes(condition.scopes)

            def withdraws(event: Event, at: int, state: ContactState) -> bool:
                if not covers(*scope_of(event)):
                    return False
                return not in_force or still_withdrawn(event, state)

            self._enter("email.unsubscribed", condition, leaf, bits, withdraws)
        else:
            raise ValueError(f"{type(condition).__name__} cannot be matched against one event")

    def _enter(
        self,
        type_: str,
        condition: d.EventIs | d.Clicked | d.Opened | d.Subscribed | d.Unsubscribed,
        leaf: Leaf,
        bits: int,
        extra: Match | None = None,
    ) -> None:
        parts: list[Match] = [extra] if extra is not None else []
        if not isinstance(condition, d.Unsubscribed) and (where := compile_where(condition.where)) is not None:
            passes = where
            parts.append(lambda event, at, state: passes(event))
        campaign = condition.campaign
        if condition.after_send is not None:
            parts.append(_after_send(condition.after_send, campaign))
            campaign = None
        links = condition.links if isinstance(condition, d.Clicked) else ()
        match = _together(parts)
        if links is None:
            self._add(type_, leaf, bits, match, campaign, calm_free=True)
        elif isinstance(condition, d.Clicked):
            for pattern in sorted({place for name in links for place in self._links[name]}):
                self._add(type_, leaf, bits, match, campaign, link=pattern)
        else:
            self._add(type_, leaf, bits, match, campaign)

    def _add(
        self,
        type_: str,
        leaf: Leaf,
        bits: int = c.MATCHED,
        match: Match | None = None,
        campaign: str | None = None,
        link: int | None = None,
        calm_free: bool = False,
        of_campaign: TextMatcher | None = None,
    ) -> None:
        route = self._shared.route(type_)
        if type_ in ENGAGEMENT or is_custom(type_):
            leaf.engagement = True
        by_link = link is not None or calm_free
        if campaign is not None and by_link:
            match = _together([_of_campaign(campaign), match])
        entry = Entry(self._index, (leaf, bits), match, of_campaign)
        if link is not None:
            route.by_link.setdefault(link, []).append(entry)
        elif calm_free:
            route.calm_free.append(entry)
        elif campaign is None:
            route.plain.append(entry)
        elif "*" in campaign:
            route.by_glob.setdefault(self._shared.glob(campaign), []).append(entry)
        else:
            route.by_campaign.setdefault(campaign, []).append(entry)

    def _watch(self, leaves: Sequence[Leaf]) -> None:
        """Have the times kept that ``quiet`` and ``no_click`` count from."""
        quiets = [leaf for leaf in leaves if isinstance(leaf, c.QuietLeaf)]
        if quiets or any(leaf.kind == "no_click" for leaf in leaves):
            self._shared.watch(self._index, "email.clicked")
        if quiets:
            for type_ in SUBSCRIPTIONS:
                self._shared.watch(self._index, type_)
            self._shared.watch_custom(self._index)
        if any(leaf.opens for leaf in quiets):
            self._shared.watch(self._index, "email.opened")


def _with(places: tuple[int, ...], place: int | None) -> tuple[int, ...]:
    return places if place is None or place in places else tuple(sorted((*places, place)))


def _names(condition: d.Condition, link: d.Link) -> bool:
    """Whether what a condition counts depends on a link."""
    if isinstance(condition, d.Missed):
        return _names(condition.first, link) or _names(condition.then, link)
    if isinstance(condition, d.AnyOf):
        return any(_names(part, link) for part in condition.parts)
    if not isinstance(condition, d.Clicked):
        return False
    return link.means == "disengagement" if condition.links is None else link.name in condition.links


def _together(parts: Sequence[Match | None]) -> Match | None:
    real = tuple(part for part in parts if part is not None)
    if len(real) < 2:
        return real[0] if real else None
    return lambda event, at, state: all(part(event, at, state) for part in real)


def _names_send(event: Event, at: int, state: ContactState) -> bool:
    """What ``no_click`` counts where the journey has no ``sends``: messages without a campaign too."""
    return event.campaign is not None or event.message is not None


def _of_campaign(pattern: str) -> Match:
    matches = compile_glob(pattern)
    return lambda event, at, state: event.campaign is not None and matches(event.campaign)


def _after_send(span: int, campaign: str | None) -> Match:
    """Whether the event came within ``span`` of the contact's last delivered send, which ``campaign`` names."""
    names = compile_glob(campaign) if campaign is not None else None

    def came(event: Event, at: int, state: ContactState) -> bool:
        send = last_delivery(state, at)
        if send is None or at - send[0] >= span:
            return False
        return names is None or (send[1] is not None and names(send[1]))

    return came


def _withdrawn(condition: d.Unsubscribed) -> Holds:
    covers = compile_scopes(condition.scopes)
    span, campaign = condition.after_send, condition.campaign
    names = compile_glob(campaign) if campaign is not None else None
    return lambda facts, at, register: any_withdrawn(register, covers, span, names)
