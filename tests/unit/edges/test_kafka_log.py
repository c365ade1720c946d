from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stagepost.edges.errors import Outdated
from stagepost.edges.kafka_log import KafkaLog, KafkaSettings
from stagepost.engine.plan import Topic


class Answers:
    """An admin client that describes each topic with ``topic_id``."""

    def __init__(self, topic_id: str) -> None:
        self._topic_id = topic_id

    def list_topics(self, name: str, timeout: float) -> Any:
        return SimpleNamespace(controller_id=1, brokers={1: None}, cluster_id="c")

    def describe_topics(self, topics: Any, request_timeout: float) -> Any:
        described = SimpleNamespace(result=lambda: SimpleNamespace(topic_id=self._topic_id))
        return {"p.stagepost.state": described}


def log(topic_id: str) -> KafkaLog:
    made = KafkaLog(KafkaSettings("localhost:1"), "journey", "one", "p.", Topic.EVENTS)
    made._admin = Answers(topic_id)  # type: ignore[assignment]
    return made


def test_a_topic_is_known_by_the_id_that_the_cluster_gave_it() -> None:
    assert log("ORGYbV8gRGGPx0tPfyPGsA").topic_id(Topic.STATE) == "ORGYbV8gRGGPx0tPfyPGsA"


def test_brokers_that_give_topics_no_id_are_too_old() -> None:
    with pytest.raises(Outdated, match=r"localhost:1 give topics no id: stagepost needs Kafka 3\.6 or later"):
        log("AAAAAAAAAAAAAAAAAAAAAA").topic_id(Topic.STATE)
