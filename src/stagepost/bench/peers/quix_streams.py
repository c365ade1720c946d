"""Quix Streams: a stateful apply on RocksDB with its changelog topic, exactly-once."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from typing import Any

from stagepost.bench.peers.rule import TALLY_EVERY, Standing, Tally, advance, decode, encode, pack, unpack


def build(bootstrap: str, topic: str, name: str, state_dir: str) -> Any:
    from quixstreams import Application  # here, as our own environment, where doctests look at this file, has none

    app = Application(
        broker_address=bootstrap,
        consumer_group=name,
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        commit_interval=1.0,
        state_dir=state_dir,
        consumer_extra_config={"fetch.queue.backoff.ms": 20},
        producer_extra_config={"compression.type": "lz4", "linger.ms": 5},
        loglevel="WARNING",
    )
    events = app.topic(topic, key_deserializer="str", value_deserializer="bytes")
    transitions = app.topic(f"{name}.transitions", key_serializer="str", value_serializer="bytes")
    tallies = app.topic(f"{name}.tallies", key_serializer="str", value_serializer="bytes")
    tally = Tally()

    def follow(value: bytes, state: Any) -> Iterable[tuple[str, bytes]]:
        event = decode(value)
        found = state.get_bytes("s")
        result = advance(unpack(found) if found else Standing(), event)
        if result is None:
            return
        standing, transition = result
        state.set_bytes("s", pack(standing))
        if transition is not None:
            yield "transition", encode(transition)
        tally.add(event)
        if tally.events >= TALLY_EVERY:
            yield "tally", tally.take()

    def of_kind(kind: str) -> Any:
        return lambda output: output[0] == kind

    outputs = app.dataframe(events).apply(follow, stateful=True, expand=True)
    for kind, to in (("transition", transitions), ("tally", tallies)):
        outputs.filter(of_kind(kind)).apply(lambda output: output[1]).to_topic(to)
    return app


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        build(sys.argv[1], sys.argv[2], sys.argv[3], folder).run()
