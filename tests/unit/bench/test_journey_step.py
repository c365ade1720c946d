from __future__ import annotations

from stagepost.bench.journey_step import SIZES, bench_journey_step


def test_every_size_folds_the_same_events_and_some_of_them_move_somebody() -> None:
    report = bench_journey_step(400, 1, 1)
    found = report.as_json()
    assert list(found["steps"]) == [str(size) for size in SIZES]
    assert {figure["events"] for figure in found["steps"].values()} == {400}
    assert found["empty"]["rounds"] == 1
    assert 0 < found["moved_share"] < 1
    assert found["state_bytes"] > 0
