"""``stagepost bench normalise``: webhook bodies of SendGrid to values of ``email.events``, without a broker.

The yardstick is reading the same bodies as JSON and writing the same events as JSON: what nobody can leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from stagepost.bench import stream
from stagepost.bench.measure import Figure, Job, machine, measure, ratio
from stagepost.events import encode_json
from stagepost.normalise import Post, normalise

CONTACTS = 5_000


@dataclass(frozen=True)
class NormaliseReport:
    """What was measured: ``plain`` is JSON in and out."""

    plain: Figure
    normalised: Figure
    event_bytes: float
    """Mean size of a value of ``email.events``."""

    def as_json(self) -> dict[str, Any]:
        return {
            "bench": "normalise",
            "machine": machine(),
            "event_bytes": round(self.event_bytes),
            "plain": self.plain.as_json(),
            "normalise": {**self.normalised.as_json(), "ratio_to_plain": round(ratio(self.normalised, self.plain), 3)},
        }


def bench_normalise(
    count: int, rounds: int, seed: int, progress: Callable[[int, int], None] = lambda done, of: None
) -> NormaliseReport:
    """Normalise the webhook posts of a stream of ``count`` events, ``rounds`` times; company events are left out."""
    posts = [
        Post(provider="sendgrid", account="default", body=posted, headers={}, received_at=at)
        for at, posted in stream.posts(count, CONTACTS, seed)
        if isinstance(posted, bytes)
    ]
    results = [normalise(post).events for post in posts]
    events = sum(map(len, results))
    size = sum(len(encode_json(event)) for found in results for event in found)

    def plain(_: None) -> None:
        for post, found in zip(posts, results, strict=True):
            msgspec.json.decode(post.body)
            for event in found:
                encode_json(event)

    def normalised(_: None) -> None:
        for post in posts:
            for event in normalise(post).events:
                encode_json(event)

    jobs = [Job("plain", events, lambda: None, plain), Job("normalise", events, lambda: None, normalised)]
    first, second = measure(jobs, rounds, progress)
    return NormaliseReport(first, second, size / events)
