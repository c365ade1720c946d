"""``stagepost bench normalise``: webhook bodies of SendGrid to values of ``email.events``, alone and on a broker.

The yardstick is reading the same bodies as JSON and writing the same events as JSON: what nobody can leave out; on the
broker it is a loop that does only that (``normalise_end_to_end``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from stagepost.bench import stream
from stagepost.bench.measure import Figure, Job, machine, measure, ratio
from stagepost.bench.normalise_end_to_end import EndToEnd, measure_end_to_end
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
    end_to_end: EndToEnd

    def as_json(self) -> dict[str, Any]:
        return {
            "bench": "normalise",
            "machine": machine(),
            "event_bytes": round(self.event_bytes),
            "plain": self.plain.as_json(),
            "normalise": {**self.normalised.as_json(), "ratio_to_plain": round(ratio(self.normalised, self.plain), 3)},
            "end_to_end": self._on_a_broker(),
        }

    def _on_a_broker(self) -> dict[str, Any]:
        plain, worker = self.end_to_end.plain, self.end_to_end.worker
        if plain is None or worker is None:
            return {"skipped": self.end_to_end.skipped}
        worked = {**worker.as_json(), "ratio_to_plain": round(ratio(worker, plain), 3)}
        return {"plain_loop": plain.as_json(), "run_normalise": worked}


def bench_normalise(
    count: int,
    rounds: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
    on_broker: bool = True,
) -> NormaliseReport:
    """Normalise the webhook posts of a stream of ``count`` events, ``rounds`` times; company events are left out.
    ``on_broker``: as a running role too."""
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
    pure = (rounds + 1) * len(jobs)
    total = pure + (2 * rounds if on_broker else 0)
    first, second = measure(jobs, rounds, lambda done, of: progress(done, total))
    end_to_end = EndToEnd(skipped="not asked for")
    if on_broker:
        bodies = [(post.received_at, post.body) for post in posts]
        end_to_end = measure_end_to_end(bodies, events, rounds, lambda done, of: progress(pure + done, total))
    return NormaliseReport(first, second, size / events, end_to_end)
