"""Runs the demo from end to end: starts the stage, plays the history, watches what comes out, checks it.

Two threads beside the main one: one reads the output topics, one asks the roles for their counters.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from stagepost.demo.accounting import Accounting, Counters, account
from stagepost.demo.outcome import Outcome
from stagepost.demo.player import Player
from stagepost.demo.results import OUTPUTS, Results
from stagepost.demo.stage import JOURNEYS, Servers, Stage
from stagepost.demo.traffic import SPAN, Post, history, onward, planted
from stagepost.demo.view import Glimpse, Screen
from stagepost.edges.producers import KafkaPublisher
from stagepost.edges.signals import stopping
from stagepost.edges.tail import Tail
from stagepost.engine.plan import Emit, Topic
from stagepost.events import MICROS, parse_rfc3339
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey

PLAY_S = 60.0
"""How long the three weeks take when no time is given."""

_SHORTEST_PLAY_S = 10.0
"""Below this no machine of today keeps up, and the player would only wait for the roles."""

_END_S = 6.0
"""Of a given time, what is kept for the end: the last events on their way, and roles that stop."""

_READY_S = 60.0
"""For all roles to join their groups: 3 s each on the embedded broker, more on a machine under load."""

_DRAIN_S = 30.0
_DRAIN_ASKED_S = 10.0
"""For the last events to get through; the second when somebody pressed Ctrl-C and waits."""

_STEADY_S = 1.5
"""How long nothing may have changed for the end to be the end."""

_STALLED_S = 60.0
"""A player held back for so long: something is broken."""

_WAITED_FOR = ("normalise", "journey", "rollup")
"""Before anything is played. ``notify`` starts slowest and reads its topic from the beginning, so it may come later."""

_TURN_S = 0.03
_SHOW_S = 0.25
_ASK_S = 0.2

NOT_KEPT = {
    "embedded": "demo: embedded broker, nothing is kept, not for production",
    "local": "demo: local broker, nothing is kept, not for production",
}


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``for_s``: wall seconds for all of it; None: until Ctrl-C."""

    servers: Servers
    seed: int = 1
    for_s: float | None = None


class RoleFailed(Exception):
    """A role did not come up or did not get through; the message has the end of its log."""


@dataclass
class Sent:
    """Running totals of what was published."""

    raw: int = 0
    parts: int = 0
    company: int = 0

    def add(self, posts: Sequence[Post]) -> None:
        for post in posts:
            if post.topic == Topic.RAW:
                self.raw += 1
                self.parts += post.parts
            else:
                self.company += post.parts

    @property
    def events(self) -> int:
        return self.parts + self.company


@dataclass
class _Seen:
    """What the two threads found; ``lock`` around both folds."""

    results: Results
    lock: threading.Lock = field(default_factory=threading.Lock)
    counters: dict[str, Counters] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    changed_at: float = 0.0
    failure: BaseException | None = None

    def accounting(self) -> Accounting:
        with self.lock:
            return account(self.counters.get("normalise", Counters()), self.counters.get("journey", Counters()))


def run_demo(request: Request, screen: Screen) -> Outcome:
    """The whole demo; leaves nothing behind. Raises Refused, RoleFailed, LocalServerError, KafkaException."""
    began = time.monotonic()
    asked = threading.Event()
    with stopping(asked.set):
        screen.say(NOT_KEPT.get(request.servers.kafka, f"demo: on {request.servers.kafka}, not for production"))
        screen.say(f"journey: {JOURNEYS / 'webinar-nurture.yaml'}")
        with Stage(request.servers) as stage:
            screen.say(f"meanwhile, elsewhere: stagepost explain CONTACT {stage.flags}")
            return _Run(request, stage, screen, asked, began).run()


def demo_journeys() -> tuple[Journey, ...]:
    """The journeys of the demo, as the roles read them."""
    files = sorted(JOURNEYS.glob("*.yaml"))
    parsed = [parse_journey(file.read_text(encoding="utf-8"), str(file)) for file in files]
    return tuple(result.journey for result in parsed if result.journey is not None)


class _Run:
    def __init__(self, request: Request, stage: Stage, screen: Screen, asked: threading.Event, began: float) -> None:
        self._request = request
        self._stage = stage
        self._screen = screen
        self._asked = asked
        self._began = began
        self._sent = Sent()
        self._seen = _Seen(Results(demo_journeys()))
        self._restarts: list[str] = []
        self._shown_at = 0.0
        self._rates: deque[tuple[float, int, int]] = deque(maxlen=20)
        self._phase = "starting"
        self._behind: Callable[[], int] = lambda: 0
        self._clock = 0

    def run(self) -> Outcome:
        start = round(time.time() * MICROS) - SPAN
        self._history = history(self._request.seed, start)
        self._clock = start
        self._player = Player(self._history, PLAY_S)
        publisher = KafkaPublisher(self._stage.client, self._stage.names)
        with self._watching():
            self._wait_ready()
            self._play(publisher)
            if not self._asked.is_set() and self._request.for_s is None:
                self._go_on(publisher)
            self._phase = "draining"
            publisher.flush(_DRAIN_ASKED_S)
            self._drain()
            self._screen.show(self._glimpse(time.monotonic()))
        self._stage.stop_roles()
        return self._outcome()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_S
        while waiting := self._stage.not_ready(_WAITED_FOR):
            self._look(time.monotonic())
            if self._asked.is_set():
                return
            if time.monotonic() > deadline:
                role, reason = next(iter(waiting.items()))
                raise RoleFailed(f"{role} is not ready after {_READY_S:g} s: {reason}\n{self._stage.log(role)}")
            time.sleep(0.1)
        self._screen.say(f"roles ready after {time.monotonic() - self._began:.1f} s")

    def _play(self, publisher: KafkaPublisher) -> None:
        """Publish the history. Goes on past the given time on a machine that is too slow for it: half a history would
        show half of what was promised."""
        self._phase = "playing"
        for_s = self._request.for_s
        left_s = PLAY_S if for_s is None else for_s - _END_S - (time.monotonic() - self._began)
        if left_s < _SHORTEST_PLAY_S:
            self._screen.say(f"demo: {for_s:g} s are too few for three weeks: played as fast as the roles follow")
        self._player = player = Player(self._history, max(_SHORTEST_PLAY_S, left_s))
        self._behind = lambda: player.behind(*self._progress())
        moved_at = time.monotonic()
        while not player.done and not self._asked.is_set():
            now = time.monotonic()
            posts = player.turn(now, time.time(), *self._progress())
            self._publish(publisher, posts)
            self._clock = player.clock
            if posts:
                moved_at = now
            elif now - moved_at > _STALLED_S:
                role = "normalise" if self._seen.accounting().parts < player.parts else "journey"
                raise RoleFailed(f"{role} takes nothing any more:\n{self._stage.log(role)}")
            self._look(now)
            time.sleep(_TURN_S)

    def _go_on(self, publisher: KafkaPublisher) -> None:
        """Traffic in real time, until Ctrl-C."""
        self._phase = "in real time"
        self._behind = lambda: 0
        coming = onward(self._request.seed, round(time.time() * MICROS))
        post = next(coming)
        while not self._asked.is_set():
            now = round(time.time() * MICROS)
            due = []
            while post.at <= now:
                due.append(post)
                post = next(coming)
            self._publish(publisher, due)
            self._clock = now
            self._look(time.monotonic())
            time.sleep(_TURN_S)

    def _publish(self, publisher: KafkaPublisher, posts: Sequence[Post]) -> None:
        publisher.publish([Emit(post.topic, post.key, post.value, post.headers) for post in posts])
        self._sent.add(posts)

    def _drain(self) -> None:
        """Until everything that was published is accounted for, and its consequences have come out."""
        deadline = time.monotonic() + (_DRAIN_ASKED_S if self._asked.is_set() else _DRAIN_S)
        while time.monotonic() < deadline:
            now = time.monotonic()
            self._look(now)
            with self._seen.lock:
                steady = now - self._seen.changed_at > _STEADY_S
            if self._arrived() and steady:
                return
            time.sleep(0.1)

    def _arrived(self) -> bool:
        sums = self._seen.accounting()
        return sums.parts == self._sent.parts and sums.arrived == self._sent.events

    def _progress(self) -> tuple[int, int]:
        sums = self._seen.accounting()
        return sums.parts, sums.arrived

    # Watching

    @contextmanager
    def _watching(self) -> Iterator[None]:
        done = threading.Event()
        threads = [
            threading.Thread(target=self._guarded, args=(work, done), daemon=True, name=name)
            for name, work in (("outputs", self._read_outputs), ("counters", self._read_counters))
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()

    def _guarded(self, work: Callable[[threading.Event], None], done: threading.Event) -> None:
        try:
            work(done)
        except BaseException as error:  # told by the main thread
            self._seen.failure = error

    def _read_outputs(self, done: threading.Event) -> None:
        seen, tail = self._seen, Tail(self._stage.client, self._stage.names, OUTPUTS)
        try:
            while not done.is_set():
                records = tail.read(2000, 0.1)
                with seen.lock:
                    for record in records:
                        move = seen.results.add(record)
                        if move is None or move.late or not (move.cause and move.cause.type.startswith("email.")):
                            continue
                        sent_at = self._player.published_at(parse_rfc3339(move.at))
                        if sent_at is not None:
                            seen.latencies_s.append(max(0.0, record.timestamp / MICROS - sent_at))
                    if records:
                        seen.changed_at = time.monotonic()
        finally:
            tail.close()

    def _read_counters(self, done: threading.Event) -> None:
        while not done.wait(_ASK_S):
            for role in ("normalise", "journey"):
                counters = self._stage.counters(role)
                if counters is not None:
                    with self._seen.lock:
                        self._seen.counters[role] = counters

    def _look(self, now: float) -> None:
        """Whether all roles run, and a new picture now and then."""
        if self._seen.failure is not None:
            raise self._seen.failure
        if now - self._shown_at < _SHOW_S:
            return
        self._shown_at = now
        for ended in self._stage.check():
            self._restarts.append(ended.name)
            if ended.restart_in_s is None:
                raise RoleFailed(f"{ended.name} ended with code {ended.code}:\n{self._stage.log(ended.name)}")
            self._screen.say(f"{ended.name} ended with code {ended.code}, starts again in {ended.restart_in_s:g} s")
        self._screen.show(self._glimpse(now))

    def _glimpse(self, now: float) -> Glimpse:
        sums, behind = self._seen.accounting(), self._behind()
        with self._seen.lock:
            results = self._seen.results
            self._rates.append((now, sums.taken, results.transitions))
            since, events, moves = self._rates[0]
            span = max(now - since, _SHOW_S)
            return Glimpse(
                phase=self._phase,
                elapsed_s=now - self._began,
                clock=self._clock,
                played=min(self._clock, self._history.end) - self._history.start,
                posts=self._sent.raw,
                events=sums.taken,
                events_per_s=(sums.taken - events) / span,
                moves=results.transitions,
                moves_per_s=(results.transitions - moves) / span,
                behind=behind,
                dead_letters=sums.dead_lettered,
                funnels={journey.name: results.funnel(journey.name) for journey in results.journeys},
                newest=tuple(results.newest),
                alerts=results.fired,
            )

    def _outcome(self) -> Outcome:
        results = self._seen.results
        return Outcome(
            seconds=time.monotonic() - self._began,
            raw_in=self._sent.raw,
            published_events=self._sent.events,
            accounting=self._seen.accounting(),
            kinds=dict(sorted(results.kinds.items())),
            funnel={journey.name: results.funnel(journey.name) for journey in results.journeys},
            alerts=results.fired,
            metrics_windows=len(results.windows),
            dead_letters=results.dead_letters,
            planted=planted(self._player.published),
            campaigns=self._history.campaigns,
            complete=self._player.done,
            latencies_s=tuple(self._seen.latencies_s),
            restarts=tuple(self._restarts),
            played_to=None if self._player.done else self._player.clock,
        )
