"""Faust: an agent over the events, contacts in a table with its changelog, exactly_once."""

from __future__ import annotations

import sys
from typing import Any

import faust

from stagepost.bench.peers.rule import TALLY_EVERY, Standing, Tally, advance, decode, encode, pack, unpack

PARTITIONS = 8


def build(bootstrap: str, topic: str, name: str) -> faust.App:
    app = faust.App(
        name,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        processing_guarantee="exactly_once",
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        producer_compression_type="lz4",
        broker_commit_interval=1.0,
        stream_buffer_maxsize=8192,
        web_enabled=False,
    )
    raw: dict[str, Any] = {"key_serializer": "raw", "value_serializer": "raw"}
    events = app.topic(topic, **raw)
    transitions = app.topic(f"{name}.transitions", **raw)
    tallies = app.topic(f"{name}.tallies", **raw)
    schema: Any = faust.Schema(key_type=bytes, value_type=bytes, **raw)
    contacts: Any = app.Table("contacts", schema=schema, partitions=PARTITIONS)
    tally = Tally()

    @app.agent(events)  # type: ignore[untyped-decorator, unused-ignore]
    async def follow(stream: Any) -> None:
        async for value in stream:
            event = decode(value)
            key = event.contact.encode()
            found = contacts.get(key)
            result = advance(unpack(found) if found else Standing(), event)
            if result is None:
                continue
            standing, transition = result
            contacts[key] = pack(standing)
            if transition is not None:
                await transitions.send(key=key, value=encode(transition))
            tally.add(event)
            if tally.events >= TALLY_EVERY:
                await tallies.send(value=tally.take())

    return app


if __name__ == "__main__":
    faust.Worker(build(sys.argv[1], sys.argv[2], sys.argv[3]), loglevel="WARN").execute_from_commandline()
