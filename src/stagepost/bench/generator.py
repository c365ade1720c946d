"""Events at an even pace, from a process of its own: ``BOOTSTRAP TOPIC EVENTS PER_SECOND SEED``.

All are made before; "ready" on standard output, and a line on standard input starts them. Falling behind is made up
for, so that the rate is kept on average, and told in the end.
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Producer

from stagepost.bench import stream
from stagepost.bench.expected import SPAN_S
from stagepost.edges.producers import COMMON
from stagepost.events import encode_json

CONTACTS = 20_000

_TURN_S = 0.005
"""Between two handfuls of events."""


def main(bootstrap: str, topic: str, events: str, per_second: str, seed: str) -> None:
    count, rate = int(events), float(per_second)
    made = [
        (event.contact.encode(), encode_json(event))
        for event in stream.flow(count, CONTACTS, int(seed), SPAN_S / count)
    ]
    producer = Producer({**COMMON, "bootstrap.servers": bootstrap, "linger.ms": 1, "log_level": 0})
    producer.list_topics(topic, timeout=10)
    print("ready", flush=True)
    sys.stdin.readline()
    began, sent, latest = time.monotonic(), 0, 0.0
    while sent < count:
        wanted = min(count, int((time.monotonic() - began) * rate))
        latest = max(latest, (wanted - sent) / rate)
        for key, value in made[sent:wanted]:
            producer.produce(topic, value, key)
        sent = wanted
        producer.poll(0)
        time.sleep(_TURN_S)
    left = producer.flush(30)
    print(f"behind {latest:.3f} left {left}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
