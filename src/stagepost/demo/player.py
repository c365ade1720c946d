"""Plays a history on a compressed clock: publishes what is due, and waits when the roles fall behind.

Half of the pace follows event time, half the number of posts, so that quiet nights pass quickly and bursts are
stretched. The journeys take events up to 24 h late and a second of wall time is about 8 h of event time; hence the
player holds back as soon as the roles are ``HOLD_AT`` behind. And what a company publishes itself waits until the posts
before it are normalised: else a registration would come before the click that led to it, which happened minutes, or
here some milliseconds, earlier. May not contain: a client, a sleep, a clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from stagepost.demo.traffic import History, Post
from stagepost.engine.plan import Topic
from stagepost.events import HOUR

HOLD_AT = 10 * HOUR
"""Of event time between what is published and what the slowest role has worked off. Less than half the lateness."""

_CATCH_UP = 2.0
"""How much faster than planned it may go after it was held back."""


class Player:
    """What to publish when. Times that callers give are seconds of any clock that only goes forward."""

    def __init__(self, history: History, play_s: float) -> None:
        """``play_s``: how long the whole history should take."""
        posts = history.posts
        span, count = history.end - history.start, len(posts)
        self._history = history
        self._play_s = play_s
        self._shares = [
            0.5 * (post.at - history.start) / span + 0.5 * number / count for number, post in enumerate(posts, 1)
        ]
        # Running totals, to find how far a role has come by the number of parts or events that it took.
        self._parts = list(accumulate(post.parts if post.topic == Topic.RAW else 0 for post in posts))
        self._events = list(accumulate(post.parts for post in posts))
        self._began: float | None = None
        self._turned = 0.0
        self._share = 0.0
        self._next = 0
        self._waiting: deque[tuple[int, Post]] = deque()
        """Company events with the parts that have to be normalised before them."""
        self._published: list[Post] = []
        self._turns: list[tuple[int, float]] = []
        self.held = False
        """Whether the last turn waited for the roles."""

    @property
    def done(self) -> bool:
        return len(self._published) == len(self._history.posts)

    @property
    def published(self) -> Sequence[Post]:
        return self._published

    @property
    def clock(self) -> int:
        """Event time up to which every webhook is published, micros."""
        return self._history.posts[self._next - 1].at if self._next else self._history.start

    @property
    def parts(self) -> int:
        """Parts of bodies on ``email.raw`` that are published."""
        return self._parts[self._next - 1] if self._next else 0

    def turn(self, now: float, wall: float, parts_read: int, events_read: int) -> Sequence[Post]:
        """What to publish now. ``wall``: Unix seconds, to be found again by ``published_at``.

        ``parts_read``: parts that ``normalise`` has taken; ``events_read``: parts and company events that are in a
        class of the accounting.
        """
        if self._began is None:
            self._began = self._turned = now
        passed, self._turned = now - self._turned, now
        self.held = self.behind(parts_read, events_read) > HOLD_AT
        posts = [] if self.held else self._due(now, passed, wall)
        while self._waiting and self._waiting[0][0] <= parts_read:
            posts.append(self._waiting.popleft()[1])
        self._published += posts
        return posts

    def _due(self, now: float, passed: float, wall: float) -> list[Post]:
        """Posts to ``email.raw`` whose time has come; company events join those that wait."""
        assert self._began is not None
        left_s = self._began + self._play_s - now
        nominal = passed / self._play_s
        pace = (1 - self._share) * passed / left_s if left_s > passed else nominal * _CATCH_UP
        self._share += min(max(pace, nominal), nominal * _CATCH_UP)
        first, self._next = self._next, bisect_right(self._shares, self._share, lo=self._next)
        if self._next > first:
            self._turns.append((self.clock, wall))
        due = []
        for number in range(first, self._next):
            post = self._history.posts[number]
            if post.topic == Topic.RAW:
                due.append(post)
            else:
                self._waiting.append((self._parts[number], post))
        return due

    def behind(self, parts_read: int, events_read: int) -> int:
        """How far the slower of the two roles is behind what is published, in micros of event time."""
        if not self._next:
            return 0
        by_parts = bisect_right(self._parts, parts_read)
        by_events = bisect_right(self._events, events_read)
        oldest = min(by_parts, by_events)
        return self.clock - self._history.posts[oldest].at if oldest < self._next else 0

    def published_at(self, at: int) -> float | None:
        """Unix seconds when a webhook about an event of time ``at`` was published; None when it was not yet."""
        number = bisect_left(self._turns, (at, 0.0))
        return self._turns[number][1] if number < len(self._turns) else None
