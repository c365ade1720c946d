"""``stagepost bench``: measures the product's own code on this machine, as ratios within one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stagepost.cli.options import Json
from stagepost.cli.output import data, json_data, progress_bar

if TYPE_CHECKING:
    from stagepost.bench.measure import Figure

Events = Annotated[int, typer.Option("--events", metavar="N", min=1_000, max=5_000_000, help="Events of one round.")]
Rounds = Annotated[int, typer.Option("--rounds", metavar="N", min=1, max=1_000, help="Rounds that count.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the stream.")]


def add_to(app: typer.Typer) -> None:
    bench = typer.Typer(
        name="bench",
        help="Measure this machine.\n\nCPU per event, medians with their range, ratios within one run.",
        no_args_is_help=True,
    )
    app.add_typer(bench)

    @bench.command("journey-step")
    def journey_step(events: Events = 50_000, rounds: Rounds = 5, seed: Seed = 1, as_json: Json = False) -> None:
        """Measure the pure step of a contact.

        In journeys of 5, 50 and 500 conditions, beside the loop without it.

        Example: stagepost bench journey-step --events 100000 --json
        """
        from stagepost.bench.journey_step import bench_journey_step
        from stagepost.bench.measure import machine, ratio

        with progress_bar("measuring") as progress:
            report = bench_journey_step(events, rounds, seed, progress)
        if as_json:
            json_data(report.as_json())
            return
        few = next(iter(report.steps.values()))
        rows = [_row("loop without the step", report.empty, None)]
        rows += [_row(f"{size} conditions", figure, ratio(figure, few)) for size, figure in report.steps.items()]
        notes = (
            f"{report.moved:.1%} of the events move their contact; a contact takes {report.state_bytes:.0f} bytes in "
            "the state topic; ratios are to 5 conditions"
        )
        data("\n".join([*_head(machine()), *rows, notes]))

    @bench.command("normalise")
    def normalise(events: Events = 50_000, rounds: Rounds = 5, seed: Seed = 1, as_json: Json = False) -> None:
        """Measure webhook bodies to canonical events.

        Without a broker, beside reading and writing the same JSON.

        Example: stagepost bench normalise --json
        """
        from stagepost.bench.measure import machine, ratio
        from stagepost.bench.normalise import bench_normalise

        with progress_bar("measuring") as progress:
            report = bench_normalise(events, rounds, seed, progress)
        if as_json:
            json_data(report.as_json())
            return
        rows = [
            _row("JSON in and out", report.plain, None),
            _row("normalise", report.normalised, ratio(report.normalised, report.plain)),
        ]
        data("\n".join([*_head(machine()), *rows, f"an event takes {report.event_bytes:.0f} bytes on email.events"]))


def _head(machine: Any) -> Sequence[str]:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}",
        versions,
        f"{'':24} {'CPU us per event':>28} {'events/s and core':>19} {'ratio':>7}",
    )


def _row(name: str, figure: Figure, ratio: float | None) -> str:
    span = f"{figure.median_us:.2f} ({min(figure.cpu_us):.2f} to {max(figure.cpu_us):.2f})"
    return f"{name:24} {span:>28} {figure.per_core:>19,.0f} {'' if ratio is None else f'{ratio:.2f}':>7}"
