"""One batch's counter deltas, by tally partition."""

from __future__ import annotations

from stagepost.engine.plan import Topic
from stagepost.engine.tallies import Tallies
from stagepost.events import BIN, Tally, decode_tally_batch, murmur2_partition
from stagepost.journey.result import Count


def test_deltas_of_a_batch_add_up_in_the_partition_of_their_scope() -> None:
    tallies = Tallies(p=5, partitions=4)
    for at in (10 * BIN, 10 * BIN + 7, 11 * BIN):
        tallies.add(Count("delivered", at, "nurture-1", "m"), "sendgrid")
    emits = tallies.emits(seq=9, clock=77)
    home = murmur2_partition(b"campaign/nurture-1", 4)
    batches = [decode_tally_batch(emit.value or b"") for emit in emits]
    assert [emit.partition for emit in emits] == [0, 1, 2, 3]
    assert all(emit.topic == Topic.TALLIES for emit in emits)
    assert {(batch.p, batch.seq, batch.clock) for batch in batches} == {(5, 9, 77)}
    assert batches[home].deltas == (
        Tally("campaign", "nurture-1", 10, "delivered", 2),
        Tally("campaign", "nurture-1", 10, "provider.sendgrid", 2),
        Tally("campaign", "nurture-1", 11, "delivered", 1),
        Tally("campaign", "nurture-1", 11, "provider.sendgrid", 1),
    )
    assert [len(batch.deltas) for n, batch in enumerate(batches) if n != home] == [0, 0, 0]


def test_a_batch_that_counted_nothing_still_tells_every_partition_its_clock() -> None:
    emits = Tallies(p=0, partitions=2).emits(seq=1, clock=3)
    assert [decode_tally_batch(emit.value or b"").deltas for emit in emits] == [(), ()]


def test_a_count_without_campaign_belongs_to_no_scope() -> None:
    tallies = Tallies(p=0, partitions=1)
    tallies.add(Count("complained", 0, None, "m"), "sendgrid")
    assert decode_tally_batch(tallies.emits(1, 1)[0].value or b"").deltas == ()
