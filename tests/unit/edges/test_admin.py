"""What the topics are to be, as data."""

from __future__ import annotations

from stagepost.edges.admin import SAME_COUNT, topic_specs
from stagepost.engine.dead_letters import CARRIED_LIMIT
from stagepost.engine.plan import Topic

DAY = 24 * 3600 * 1000

BY_TOPIC = {spec.topic: spec for spec in topic_specs("acme.", partitions=12, tally_partitions=4, replication=3)}


def test_every_topic_of_the_plan_is_made_under_the_prefix() -> None:
    assert {topic: f"acme.{topic}" for topic in Topic} == {topic: spec.name for topic, spec in BY_TOPIC.items()}


def test_policies_and_retentions_are_those_of_the_design() -> None:
    expected = {
        Topic.RAW: ("delete", 7),
        Topic.RAW_DLQ: ("delete", 14),
        Topic.EVENTS: ("delete", 30),
        Topic.EVENTS_DLQ: ("delete", 14),
        Topic.TRANSITIONS: ("delete", 30),
        Topic.CONTACTS: ("compact", None),
        Topic.STATE: ("compact", None),
        Topic.TALLIES: ("delete", 7),
        Topic.TALLIES_DLQ: ("delete", 14),
        Topic.ROLLUP: ("compact", None),
        Topic.METRICS: ("delete", 90),
        Topic.ALERTS: ("compact,delete", 30),
        Topic.ALERTS_DLQ: ("delete", 14),
    }
    found = {}
    for topic, spec in BY_TOPIC.items():
        retention = spec.config.get("retention.ms")
        found[topic] = (spec.config["cleanup.policy"], None if retention is None else int(retention) // DAY)
    assert expected == found


def test_bodies_of_eight_mebibytes_oversize_events_tallies_of_a_batch_and_every_dead_letter_fit() -> None:
    limits = {topic: int(spec.config.get("max.message.bytes", 1 << 20)) >> 20 for topic, spec in BY_TOPIC.items()}
    assert {Topic.RAW, Topic.EVENTS, Topic.TALLIES} == {topic for topic, limit in limits.items() if limit == 9}
    assert {topic for topic in Topic if topic.endswith(".dlq")} == {t for t, limit in limits.items() if limit == 10}
    assert CARRIED_LIMIT == 9 << 20


def test_inputs_and_states_of_stateful_roles_have_the_brokers_time() -> None:
    assert {Topic.EVENTS, Topic.STATE, Topic.TALLIES, Topic.ROLLUP} == {
        topic for topic, spec in BY_TOPIC.items() if spec.config.get("message.timestamp.type") == "LogAppendTime"
    }


def test_compaction_is_bounded_and_tombstones_outlast_a_sleeping_mirror() -> None:
    compacted = [spec.config for spec in BY_TOPIC.values() if "compact" in spec.config["cleanup.policy"]]
    assert 4 == len(compacted)
    assert {str(DAY)} == {config["max.compaction.lag.ms"] for config in compacted}
    assert {str(3 * DAY)} == {config["delete.retention.ms"] for config in compacted}


def test_topics_that_belong_together_have_the_same_number_of_partitions() -> None:
    assert {12} == {BY_TOPIC[topic].partitions for topic in (Topic.EVENTS, Topic.STATE, Topic.CONTACTS, Topic.RAW)}
    assert {4} == {BY_TOPIC[topic].partitions for topic in (Topic.TALLIES, Topic.ROLLUP, Topic.TALLIES_DLQ)}
    assert all(BY_TOPIC[one].partitions == BY_TOPIC[other].partitions for one, other in SAME_COUNT.items())


def test_one_replica_may_fail_unless_there_is_only_one() -> None:
    in_sync = {n: topic_specs("", 1, 1, n)[0].config["min.insync.replicas"] for n in (1, 2, 3)}
    assert {1: "1", 2: "1", 3: "2"} == in_sync
