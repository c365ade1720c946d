"""Three brokers, of which one at a time is killed or frozen, each with a proxy of its own before it.

To a fault they are what one broker and its proxy are: which of the three it meets is drawn by chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.proxy import KafkaProxy, Late, listeners

from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_servers import HOST, free_ports
from stagepost.edges.processes import ProcessGroup

NODES = 3

_REPLICATED = {
    "offsets.topic.replication.factor": str(NODES),
    "transaction.state.log.replication.factor": str(NODES),
    "transaction.state.log.min.isr": str(NODES - 1),
    "share.coordinator.state.topic.replication.factor": str(NODES),
    "share.coordinator.state.topic.min.isr": str(NODES - 1),
    # A leader that is gone is replaced after the session of its node: 3 s. A follower that is, leaves the ISR as soon.
    "replica.lag.time.max.ms": "3000",
}


class Cluster:
    """What ``LocalKafka`` is of one node. Every node is broker and controller."""

    def __init__(self, group: ProcessGroup, seed: int) -> None:
        ports = free_ports(2 * NODES)
        behind, controllers = ports[:NODES], ports[NODES:]
        voters = ",".join(f"{number}@{HOST}:{port}" for number, port in enumerate(controllers, 1))
        self._chance = random.Random(f"cluster {seed}")
        self.proxies = [KafkaProxy(port) for port in behind]

        def node(place: int) -> LocalKafka:
            own = {
                "controller.quorum.voters": voters,
                **listeners(behind[place], self.proxies[place], controllers[place]),
            }
            return LocalKafka(group, {**_REPLICATED, **own}, node=place + 1)

        with ThreadPoolExecutor(NODES) as together:  # none of them answers before two are there
            self.nodes: Sequence[LocalKafka] = list(together.map(node, range(NODES)))

    @property
    def bootstrap(self) -> str:
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def pid(self) -> int:
        """Of one of them."""
        return self._chance.choice(self.nodes).pid

    @property
    def port(self) -> int:
        return self.nodes[0].port

    @property
    def data(self) -> Path:
        return self.nodes[0].data

    def kill(self) -> None:
        self._chance.choice(self.nodes).kill()

    def start(self) -> None:
        for node in self.nodes:
            node.start()


class Proxies:
    """What one ``KafkaProxy`` is to a fault, over one before each broker."""

    def __init__(self, each: Sequence[KafkaProxy]) -> None:
        self._each = each

    @property
    def address(self) -> str:
        return ",".join(proxy.address for proxy in self._each)

    @property
    def late(self) -> list[Late]:
        return [late for proxy in self._each for late in proxy.late]

    @property
    def latency_s(self) -> float:
        return self._each[0].latency_s

    @latency_s.setter
    def latency_s(self, seconds: float) -> None:
        for proxy in self._each:
            proxy.latency_s = seconds

    def silence(self, direction: str) -> None:
        """Of one broker only: with all of them silent it would be as with one."""
        self._each[0].silence(direction)

    def heal(self) -> None:
        for proxy in self._each:
            proxy.heal()

    def reset(self) -> None:
        for proxy in self._each:
            proxy.reset()

    def cut_after(self, count: int) -> None:
        for proxy in self._each:
            proxy.cut_after(count)

    def hold_next_end(self, transactional_id: str, then: Callable[[], None]) -> None:
        for proxy in self._each:
            proxy.hold_next_end(transactional_id, then)

    def at_end_of(self, transactional_id: str, then: Callable[[], None], answer_after_s: float | None) -> None:
        for proxy in self._each:
            proxy.at_end_of(transactional_id, then, answer_after_s)

    def close(self) -> None:
        for proxy in self._each:
            proxy.close()
