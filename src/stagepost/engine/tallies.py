"""From what a batch counted to one record per tally partition (design.md 5).

Scopes so far: campaign. A scope lies in the tally partition that murmur2 of ``scope type/scope id`` gives.
"""

from __future__ import annotations

from collections import Counter

from stagepost.engine.plan import Emit, Topic
from stagepost.events import BIN, Tally, TallyBatch, encode_json, murmur2_partition
from stagepost.journey.result import Count

PROVIDER_METRIC = "provider."
"""Prefix of the metric that tells a scope which providers report on it, so that ``unavailable`` can be named."""

_Deltas = Counter[tuple[str, int, str, str | None]]
"""(campaign, bin, metric, provider) to a number: one key for a count, taken apart once for a batch."""


class Tallies:
    """Collects the counter deltas of one batch of input partition ``p``."""

    def __init__(self, p: int, partitions: int) -> None:
        self._p = p
        self._partitions = partitions
        self._deltas: _Deltas = Counter()

    def add(self, count: Count, provider: str | None) -> None:
        """Count for every scope of the send. A count without campaign belongs to no scope and is left out."""
        if count.campaign is None:
            return
        self._deltas[count.campaign, count.at // BIN, count.metric, provider] += 1

    def emits(self, seq: int, clock: int) -> tuple[Emit, ...]:
        """One record for each tally partition, empty ones too: ``seq`` has no gaps, and every watermark moves."""
        deltas: Counter[tuple[str, int, str]] = Counter()
        for (campaign, bin_, metric, provider), n in self._deltas.items():
            deltas[campaign, bin_, metric] += n
            if provider is not None:
                deltas[campaign, bin_, PROVIDER_METRIC + provider] += n
        shares: list[list[Tally]] = [[] for _ in range(self._partitions)]
        homes: dict[str, list[Tally]] = {}
        for (campaign, bin_, metric), n in sorted(deltas.items()):
            share = homes.get(campaign)
            if share is None:
                home = murmur2_partition(f"campaign/{campaign}".encode(), self._partitions)
                share = homes[campaign] = shares[home]
            share.append(Tally("campaign", campaign, bin_, metric, n))
        key = str(self._p).encode()
        return tuple(
            Emit(
                topic=Topic.TALLIES,
                key=key,
                value=encode_json(TallyBatch(p=self._p, seq=seq, clock=clock, deltas=tuple(share))),
                partition=partition,
            )
            for partition, share in enumerate(shares)
        )
