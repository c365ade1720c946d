"""Waiting for the cluster at the start: one line when it is away, one when it is back, and no restart in between.

May not contain: what is wrong with the cluster beside that it does not answer; that ends the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stagepost.edges.errors import Stop, in_words, of_kafka
from stagepost.edges.logs import logger

_ASK_S = 2.0
"""For one answer; also how late a request to end is noticed."""

_PAUSES_S = (0.5, 1.0, 2.0, 5.0)
"""Between questions; the last one repeats."""


def await_kafka(settings: Mapping[str, Any], asked_to_end: Callable[[], bool], name: str) -> bool:
    """Return once the cluster answers; False when asked to end before. Raises Stop for what only a person can mend.

    ``settings``: of a client. ``name``: of the logger.
    """
    servers = settings["bootstrap.servers"]
    doing = f"Kafka at {servers} (setting kafka.bootstrap_servers)"
    told: list[KafkaError] = []
    # Silent: what goes wrong is told here, and the client's own lines repeat every 50 ms.
    options: dict[str, Any] = {**settings, "log_level": 0, "error_cb": told.append}
    client = AdminClient(options)
    began, tries, log = time.monotonic(), 0, logger(name)
    while not asked_to_end():
        try:
            client.list_topics(timeout=_ASK_S)
        except KafkaException as raised:
            routed = of_kafka(raised.args[0], doing)
            if routed is None:
                raise
            # That a certificate or a password is refused shows in the question only as a broker that is away.
            client.poll(0)
            for error in told:
                if isinstance(reason := of_kafka(error, doing), Stop):
                    raise reason from raised
            told.clear()
            if not tries:
                log.warning("waiting for Kafka", reason=in_words(raised, servers, "") or str(routed))
            _pause(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)], asked_to_end)
            tries += 1
            continue
        if tries:
            log.info("Kafka answers", duration_s=round(time.monotonic() - began, 1))
        return True
    return False


def _pause(seconds: float, asked_to_end: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not asked_to_end():
        time.sleep(0.05)
