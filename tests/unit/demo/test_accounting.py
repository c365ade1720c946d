from __future__ import annotations

from stagepost.demo.accounting import Accounting, Counters, account, read_counters
from stagepost.edges.metrics import Metrics

NORMALISE = {
    ("parts_total", "in"): 10,
    ("parts_total", "event"): 7,
    ("parts_total", "rejected"): 2,
    ("parts_total", "no_event"): 1,
    ("events_dead_lettered_total", "no-contact"): 2,
}
JOURNEY = {
    ("events_in_total",): 12,
    ("events_applied_total",): 5,
    ("events_skipped_total", "duplicate"): 2,
    ("events_skipped_total", "late"): 1,
    ("events_skipped_total", "suppressed"): 1,
    ("events_skipped_total", "test"): 1,
    ("events_rerouted_total",): 1,
    ("events_dead_lettered_total", "schema"): 1,
}


def counters(counts: dict[tuple[str, ...], int]) -> Counters:
    """As a role shows them."""
    metrics = Metrics()
    metrics.add(counts)
    return read_counters(metrics.render().decode())


def sums(normalise: dict[tuple[str, ...], int], journey: dict[tuple[str, ...], int]) -> Accounting:
    return account(counters(normalise), counters(journey))


def test_every_class_is_read_off_the_roles_own_metrics() -> None:
    assert Accounting(
        parts=10,
        became_events=7,
        rejected=2,
        without_event=1,
        taken=12,
        applied=5,
        duplicates=2,
        late=1,
        suppressed=1,
        test=1,
        rerouted=1,
        refused=1,
        reasons={"no-contact": 2, "schema": 1},
    ) == sums(NORMALISE, JOURNEY)


def test_sums_that_close_are_balanced() -> None:
    assert sums(NORMALISE, JOURNEY).balanced


def test_a_part_without_a_class_is_not_balanced() -> None:
    assert not sums(NORMALISE | {("parts_total", "in"): 11}, JOURNEY).balanced


def test_an_event_without_a_class_is_not_balanced() -> None:
    assert not sums(NORMALISE, JOURNEY | {("events_in_total",): 13}).balanced


def test_an_event_in_two_classes_is_not_balanced() -> None:
    assert not sums(NORMALISE, JOURNEY | {("events_skipped_total", "late"): 2}).balanced


def test_dead_letters_of_both_roles_are_one_number_and_part_of_what_came_in() -> None:
    both = sums(NORMALISE, JOURNEY)
    assert 3 == both.dead_lettered
    assert 14 == both.events == both.applied + 2 + 1 + 1 + both.test + both.rerouted + both.dead_lettered


def test_what_no_role_has_counted_yet_is_zero() -> None:
    nothing = account(Counters(), Counters())
    assert (0, 0, True) == (nothing.events, nothing.dead_lettered, nothing.balanced)


def test_labels_select_samples() -> None:
    found = counters(JOURNEY)
    assert 5 == found.total("events_skipped_total")
    assert 2 == found.total("events_skipped_total", reason="duplicate")
    assert 0 == found.total("events_skipped_total", reason="unheard-of")
