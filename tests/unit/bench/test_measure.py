from __future__ import annotations

from stagepost.bench.measure import Figure, Job, machine, measure, ratio


def test_jobs_run_in_turn_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    shown: list[tuple[int, int]] = []
    jobs = [Job(name, 10, lambda name=name: name, calls.append) for name in ("a", "b")]
    first, second = measure(jobs, 2, lambda done, of: shown.append((done, of)))
    assert calls == ["a", "b"] * 3
    assert (first.name, len(first.cpu_us), second.name, len(second.cpu_us)) == ("a", 2, "b", 2)
    assert shown == [(done, 6) for done in range(1, 7)]


def test_a_figure_is_a_median_per_event_and_a_rate_of_one_core() -> None:
    figure = Figure("a", 1000, (2.0, 4.0, 9.0), (3.0, 5.0, 10.0))
    assert (figure.median_us, figure.per_core) == (4.0, 250_000.0)
    assert figure.as_json() == {
        "events": 1000,
        "rounds": 3,
        "cpu_us": {"median": 4.0, "min": 2.0, "max": 9.0},
        "wall_us": {"median": 5.0},
        "events_per_core_s": 250_000,
    }


def test_a_ratio_compares_rounds_pair_by_pair_so_that_a_slow_minute_of_the_machine_does_not_count() -> None:
    slow_in_the_middle = Figure("a", 1, (2.0, 20.0, 2.0), (0.0, 0.0, 0.0))
    yardstick = Figure("b", 1, (1.0, 10.0, 1.0), (0.0, 0.0, 0.0))
    assert ratio(slow_in_the_middle, yardstick) == 2.0


def test_the_machine_names_what_the_figures_depend_on() -> None:
    found = machine()
    assert set(found) == {"processor", "cores", "system", "python", "versions"}
    assert found["versions"]["msgspec"]
