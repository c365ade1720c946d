from __future__ import annotations

from stagepost.bench.journey import FLOOR, JOURNEY, TWO, WITH_REDIS, JourneyReport, Row
from stagepost.bench.measure import Figure


def row(name: str, cpu_us: tuple[float, ...], wall_us: tuple[float, ...], *seen: int, expected: int = 7) -> Row:
    return Row(Figure(name, 1_000, cpu_us, wall_us), (50_000_000, 80_000_000, 60_000_000), seen, expected)


def report(seen_by_quix: int = 4) -> JourneyReport:
    rows = {
        FLOOR: row(FLOOR, (2.0, 2.0, 4.0), (3.0, 3.0, 3.0)),
        JOURNEY: row(JOURNEY, (10.0, 12.0, 20.0), (20.0, 24.0, 40.0), 7, 7, 7),
        WITH_REDIS: row(WITH_REDIS, (12.0, 15.0, 25.0), (30.0, 30.0, 30.0), 7, 7, 7),
        TWO: row(TWO, (11.0, 12.0, 22.0), (10.0, 16.0, 20.0), 7, 7, 7),
        "quix": row("quix", (30.0, 48.0, 60.0), (60.0, 60.0, 60.0), 4, 4, seen_by_quix, expected=4),
    }
    return JourneyReport(rows, {"faust": "no index"}, 1_000, 100, 727.4, (0.5, 1.0), True, "7.2")


def test_ratios_are_of_pairs_in_one_round() -> None:
    assert report().ratios() == {JOURNEY: 5.0, WITH_REDIS: 1.25, TWO: 1.1, "quix": 3.0}
    assert report().two_to_one() == 2.0


def test_a_job_that_made_other_transitions_than_it_had_to_makes_the_report_incomplete() -> None:
    assert report().complete
    assert not report(seen_by_quix=3).complete


def test_the_object_holds_what_the_table_shows_and_who_was_left_out_why() -> None:
    found = report().as_json()
    assert found["jobs"][JOURNEY]["ratio_to_floor"] == 5.0
    assert found["jobs"]["quix"]["ratio_to_journey"] == 3.0
    assert found["jobs"]["quix"]["transitions"] == [4, 4, 4]
    assert found["jobs"][JOURNEY]["peak_mb"] == 80
    assert "ratio_to_journey" not in found["jobs"][FLOOR]
    assert found["skipped"] == {"faust": "no index"}
    assert (found["event_bytes"], found["two_to_one_events_s"]) == (727, 2.0)
