from __future__ import annotations

from stagepost.demo.bodies import Mail
from stagepost.demo.malformed import malformed
from stagepost.engine.plan import Topic
from stagepost.events import Reason, parse_rfc3339

MAIL = Mail("sendgrid", "nurture-1", "c-1", "ann@example.com", "m1")
AT = parse_rfc3339("2026-11-12T09:14:07Z")


def test_every_kind_has_a_name_of_its_own_on_its_topic() -> None:
    kinds = [(bad.topic, bad.kind) for bad in malformed(MAIL, AT, 1)]
    assert len(set(kinds)) == len(kinds) >= 12


def test_each_reason_but_those_of_signatures_and_rules_is_planted() -> None:
    planted = {bad.reason for bad in malformed(MAIL, AT, 1)}
    assert set(Reason) - {Reason.SIGNATURE, Reason.RULE_ERROR} == planted


def test_bodies_name_a_provider_and_company_events_none() -> None:
    assert all((bad.provider is None) == (bad.topic == Topic.EVENTS) for bad in malformed(MAIL, AT, 1))


def test_ids_differ_from_one_round_to_the_next() -> None:
    first, second = ({bad.value for bad in malformed(MAIL, AT, number) if b'"id"' in bad.value} for number in (1, 2))
    assert first and not first & second
