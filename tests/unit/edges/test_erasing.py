from __future__ import annotations

import json

import pytest

from stagepost.edges.erasing import Progress, Remains, erasure_event, remains_of
from stagepost.events import DAY, Reason, Rejected

AT = 1_793_610_847_000_000


def test_the_event_names_the_contact_and_has_an_id_of_its_own_each_time() -> None:
    first, second = erasure_event("c-1", AT, "a"), erasure_event("c-1", AT, "b")
    assert isinstance(first, bytes) and isinstance(second, bytes)
    assert json.loads(first) == {
        "id": json.loads(first)["id"],
        "type": "contact.erased",
        "occurred_at": "2026-11-02T09:14:07.000Z",
        "contact": "c-1",
    }
    assert json.loads(first)["id"] != json.loads(second)["id"]


@pytest.mark.parametrize("contact", ["", "x" * 300, "a\x00b", "\udc80"])
def test_what_is_no_contact_id_is_refused_before_anything_is_sent(contact: str) -> None:
    refused = erasure_event(contact, AT, "a")
    assert isinstance(refused, Rejected)
    assert refused.reason == Reason.NO_CONTACT


def test_a_deleted_topic_keeps_a_record_for_its_retention_and_as_long_as_its_segment_is_written_to() -> None:
    settings = {"cleanup.policy": "delete", "retention.ms": str(30 * 86_400_000), "segment.ms": str(7 * 86_400_000)}
    assert remains_of("t", settings, AT) == Remains("t", "delete", AT + 37 * DAY)
    assert remains_of("t", {**settings, "retention.ms": "-1"}, AT) == Remains("t", "delete", None)


def test_a_compacted_topic_keeps_it_for_the_lag_of_compaction_and_its_tombstones() -> None:
    settings = {
        "cleanup.policy": "compact",
        "max.compaction.lag.ms": "86400000",
        "delete.retention.ms": str(3 * 86_400_000),
    }
    assert remains_of("t", settings, AT) == Remains("t", "compact", AT + 4 * DAY)
    assert remains_of("t", {**settings, "max.compaction.lag.ms": str(2**63 - 1)}, AT) == Remains("t", "compact", None)


@pytest.mark.parametrize(
    ("progress", "confirmed"),
    [
        (Progress(True, True, 2, (), True), True),
        (Progress(True, False, 2, (), True), False),
        (Progress(True, True, 1, ("nurture/c-1",), True), False),
        (Progress(True, True, 0, (), False), False),
        (Progress(False, True, 0, (), True), False),
    ],
)
def test_an_erasure_is_confirmed_when_nothing_is_left_and_everything_was_seen(
    progress: Progress, confirmed: bool
) -> None:
    assert progress.confirmed == confirmed
