"""What doctor makes of the answers of servers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation

from stagepost.edges.doctor import (
    Status,
    broker_findings,
    missing_rights,
    redis_findings,
    sample_findings,
    skew_finding,
    version_of,
)
from stagepost.engine.plan import Record, Topic
from stagepost.events import murmur2_partition

AT = 1_793_610_847_000_000
INFO: dict[str, Any] = {
    "redis_version": "7.4.1",
    "maxmemory_policy": "noeviction",
    "used_memory": 10,
    "maxmemory": 100,
    "aof_enabled": 1,
}


def record(
    contact: str, type_: str = "email.delivered", *, key: str | None = None, partition: int | None = None
) -> Record:
    body = {"id": "e", "type": type_, "occurred_at": "2026-11-02T09:00:00Z", "contact": contact, "provider": "ses"}
    home = murmur2_partition(contact.encode(), 4) if partition is None else partition
    return Record(Topic.EVENTS, home, 0, AT, (key or contact).encode(), json.dumps(body).encode())


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ({}, "allow what the roles ask for"),
        (
            {"unclean.leader.election.enable": "false", "transaction.max.timeout.ms": "900000"},
            "allow what the roles ask for",
        ),
        ({"unclean.leader.election.enable": "true"}, "committed data is lost"),
        ({"transaction.max.timeout.ms": "10000"}, "none can start"),
        ({"group.min.session.timeout.ms": "20000"}, "session timeout"),
        ({"group.max.session.timeout.ms": "6000"}, "session timeout"),
        ({"group.max.session.timeout.ms": None}, "allow what the roles ask for"),
    ],
)
def test_a_broker_that_does_not_allow_what_delivery_needs_is_named(configs: dict[str, str | None], said: str) -> None:
    [finding] = broker_findings(configs)
    assert said in finding.detail
    assert finding.status == (Status.OK if said.startswith("allow") else Status.FAIL)


def found(records: list[Record]) -> dict[str, Status]:
    return {finding.check: finding.status for finding in sample_findings(records, 4)}


@pytest.mark.parametrize(
    ("changed", "check", "status"),
    [
        ({}, "redis", Status.OK),
        ({"redis_version": "6.0.16"}, "redis", Status.FAIL),
        ({"redis_version": "10.0.0"}, "redis", Status.OK),
        ({"maxmemory_policy": "volatile-lru"}, "redis memory", Status.FAIL),
        ({"used_memory": 90}, "redis memory", Status.WARN),
        (
            {"aof_enabled": 0, "server_time_usec": 100_000_000, "uptime_in_seconds": 50},
            "redis persistence",
            Status.WARN,
        ),
        (
            {"aof_enabled": 0, "server_time_usec": 100_000_000, "uptime_in_seconds": 50, "rdb_last_save_time": 90},
            "redis persistence",
            Status.OK,
        ),
    ],
)
def test_redis_is_judged_by_its_own_words(changed: dict[str, Any], check: str, status: Status) -> None:
    findings = [each for each in redis_findings({**INFO, **changed}) if each.check == check]
    assert findings[-1].status == status


def test_of_no_event_nothing_else_is_said() -> None:
    assert found([]) == {"events": Status.WARN}


def test_events_that_cannot_be_read_are_a_failure_only_where_none_can() -> None:
    bad = Record(Topic.EVENTS, 0, 0, AT, b"k", b"no json")
    assert found([bad])["events"] == Status.FAIL
    assert found([bad, record("a")])["events"] == Status.WARN
    assert found([record("a")])["events"] == Status.OK


@pytest.mark.parametrize("wrong", [record("a", key="b"), record("a", partition=1 - murmur2_partition(b"a", 4) % 2)])
def test_a_wrong_key_and_a_wrong_partition_are_both_misplaced(wrong: Record) -> None:
    assert found([record("a")])["keys"] == Status.OK
    assert found([record("a"), wrong])["keys"] == Status.WARN


def test_a_provider_without_opens_and_clicks_is_named_once_it_has_delivered_enough() -> None:
    few, many = [record("a")] * 49, [record("a")] * 50
    assert found(few)["tracking"] == Status.OK
    assert found(many)["tracking"] == Status.WARN
    assert found([*many, record("a", "email.opened")])["tracking"] == Status.OK


def test_clocks_are_named_when_they_are_further_apart_than_the_limit() -> None:
    assert [skew_finding("Redis", ahead).status for ahead in (-2.1, -2.0, 0.0, 2.0, 2.1)] == [
        Status.WARN,
        Status.OK,
        Status.OK,
        Status.OK,
        Status.WARN,
    ]
    assert skew_finding("Redis", -3.0).detail == "Redis: 3.0 s behind this machine"


def test_a_version_is_told_by_what_came_with_it() -> None:
    assert version_of({"group.share.record.lock.duration.ms", "transaction.partition.verification.enable"}) == "4.0"
    assert version_of({"transaction.partition.verification.enable"}) == "3.6"
    assert version_of({"log.dirs"}) is None


def test_rights_that_are_missing_are_named() -> None:
    assert missing_rights({AclOperation.READ, AclOperation.DESCRIBE}) == ["write"]
    assert missing_rights({AclOperation.ALL}) == []
