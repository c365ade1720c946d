"""What nobody can leave out: consume a topic and decode each value with msgspec. ``BOOTSTRAP TOPIC GROUP``.

Offsets are committed once a batch, so that one can see how far it is. Nothing is done with the events.
"""

from __future__ import annotations

import sys

from confluent_kafka import Consumer

from stagepost.edges.consumers import GROUP_MEMBER
from stagepost.events import decode_event_json

_BATCH = 5_000


def main(bootstrap: str, topic: str, group: str) -> None:
    own = {"auto.offset.reset": "earliest", "enable.auto.offset.store": True, "enable.partition.eof": False}
    consumer = Consumer({**GROUP_MEMBER, **own, "bootstrap.servers": bootstrap, "group.id": group})
    consumer.subscribe([topic])
    while True:
        messages = consumer.consume(_BATCH, 0.1)
        for message in messages:
            value = message.value()
            if message.error() is None and value is not None:
                decode_event_json(value)
        if messages:
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
