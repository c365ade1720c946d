"""Dead letters on a real broker: listed, shown, sent back; and a partition of which too much is bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.roles import Installation, wait_for

from stagepost.testing.fixtures import MakeTopics
from stagepost.testing.servers import KafkaServer

SECRET = "user:right"
GOOD = {"RecordType": "Delivery", "MessageID": "m", "DeliveredAt": "2026-11-02T09:14:07Z", "Recipient": "a@example.com"}


@pytest.fixture
def installation(
    kafka: KafkaServer, redis_url: str, make_topics: MakeTopics, topic_prefix: str, tmp_path: Path
) -> Installation:
    make_topics(topic_prefix, partitions=2)
    (tmp_path / "journeys").mkdir()
    return Installation(kafka.bootstrap, redis_url, topic_prefix, tmp_path / "journeys", tmp_path)


def body(number: int, **changes: Any) -> bytes:
    return json.dumps({**GOOD, "MessageID": f"m-{number}", "Metadata": {"contact_id": "c-1"}} | changes).encode()


def listed(installation: Installation, *words: str) -> list[dict[str, Any]]:
    shown = installation.cli("dlq", "ls", *words, "--json")
    assert shown.returncode == 0, shown.stderr.decode()
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_what_was_refused_for_a_wrong_secret_is_sent_back_once_and_read_when_the_secret_is_right(
    installation: Installation,
) -> None:
    headers = [("provider", b"postmark"), ("account", b"main"), ("http.authorization", b"Basic dXNlcjpyaWdodA==")]
    installation.settings = {"STAGEPOST_ACCOUNTS__MAIN__SECRETS": "user:wrong"}
    with installation.running("normalise"):
        installation.produce("email.raw", [(b"k", body(n), headers) for n in range(3)])
        installation.produce("email.raw", [(b"k", b"{cut", headers)])
        wait_for(lambda: len(installation.read("email.raw.dlq")) == 4, 30, "four dead letters")
        letters = listed(installation)
        assert [letter["reason"] for letter in letters] == ["signature"] * 4
        assert b"Recipient" not in installation.cli("dlq", "show", letters[0]["place"]).stdout
        assert installation.cli("dlq", "show", letters[0]["place"], "--raw").stdout == body(0)
        dry = installation.cli("dlq", "retry", "email.raw.dlq", "--dry-run", "--json")
        assert json.loads(dry.stdout) == {"chosen": 4, "left": 0, "retried": 0, "failed": [], "waiting": []}
    installation.settings = {"STAGEPOST_ACCOUNTS__MAIN__SECRETS": SECRET}
    with installation.running("normalise"):
        done = installation.cli("dlq", "retry", "email.raw.dlq", "--reason", "signature", "--json")
        assert done.returncode == 3, done.stderr.decode()
        found = json.loads(done.stdout)
        assert (found["chosen"], found["retried"], len(found["failed"]), found["waiting"]) == (4, 4, 1, [])
        again = installation.cli("dlq", "retry", "email.raw.dlq", "--reason", "signature", "--json")
        assert json.loads(again.stdout)["chosen"] == 0
        assert b"left alone: 4 retried before (--again)" in again.stderr
    assert [read.json()["message"] for read in installation.read("email.events")] == ["m-0", "m-1", "m-2"]
    [failed] = [letter for letter in listed(installation) if letter["retries"]]
    assert (failed["reason"], failed["place"]) == ("undecodable", found["failed"][0]["now"])
    assert sorted(letter["retried"] for letter in listed(installation)) == [False, True, True, True, True]


def test_of_a_body_with_one_refused_part_only_that_part_is_read_again(installation: Installation) -> None:
    event = {"event": "open", "timestamp": 1793610847, "sg_message_id": "m.recvd-1", "contact_id": "c-1"}
    posted = json.dumps([event, {**event, "contact_id": ""}]).encode()
    with installation.running("normalise"):
        installation.produce("email.raw", [(None, posted, [("provider", b"sendgrid")])])
        wait_for(lambda: len(installation.read("email.raw.dlq")) == 1, 30, "a dead letter")
        done = installation.cli("dlq", "retry", "--json")
        assert done.returncode == 3, done.stderr.decode()
    assert [letter["parts"] for letter in listed(installation)] == ["1:no-contact"] * 2
    assert len(installation.read("email.events")) == 1


def test_a_partition_of_which_too_much_is_bad_stops_the_worker_before_it_diverts_the_rest(
    installation: Installation,
) -> None:
    installation.settings = {"STAGEPOST_ENGINE__DEAD_LETTER_WINDOW": "50", "STAGEPOST_ENGINE__BATCH": "20"}
    headers = [("provider", b"postmark")]
    installation.produce("email.raw", [(b"k", b"{cut", headers) for _ in range(500)])
    worker = installation.start("normalise")
    assert worker.process.wait(60) == 1
    assert "more than 50%" in worker.log.read_text()
    assert len(installation.read("email.raw.dlq")) < 100
