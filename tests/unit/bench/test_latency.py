from __future__ import annotations

from stagepost.bench.latency import LatencyReport, delays, quantile


def test_a_quantile_is_a_value_that_was_seen() -> None:
    values = [float(n) for n in range(1, 201)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (100.0, 198.0, 200.0)
    assert quantile([7.0], 0.99) == 7.0


def test_a_delay_runs_from_the_append_of_the_event_and_the_warm_up_is_left_out() -> None:
    appended = {"warm": 1_000, "a": 2_000, "b": 2_500}
    seen = [("warm", 1_900.0), ("b", 2_540.5), ("a", 2_060.0)]
    assert delays(appended, seen, 2_000) == (40.5, 60.0)


def test_the_report_says_what_was_reached_beside_the_goal_and_the_load_of_the_machine() -> None:
    report = LatencyReport((10.0, 20.0, 30.0), 5_000, 30.0, 5.0, 0.01, 42.04, (0.5, 1.5), "7.2", True)
    found = report.as_json()
    assert (found["p50_ms"], found["p99_ms"], found["max_ms"], found["goal_p99_ms"]) == (20.0, 30.0, 30.0, 250.0)
    assert (found["transitions"], found["cpu_us"], found["load_1m"]) == (3, 42.0, [0.5, 1.5])
