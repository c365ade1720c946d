"""``stagepost bench``: measures the product's own code on this machine, as ratios within one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stagepost.cli.options import Json
from stagepost.cli.output import FAILED, Failure, data, json_data, leave, note, progress_bar, rate_bar, server_failures

if TYPE_CHECKING:
    from stagepost.bench.journey import JourneyReport
    from stagepost.bench.measure import Figure
    from stagepost.bench.peers.install import Peer

Events = Annotated[int, typer.Option("--events", metavar="N", min=1_000, max=5_000_000, help="Events of one round.")]
Rounds = Annotated[int, typer.Option("--rounds", metavar="N", min=1, max=1_000, help="Rounds that count.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the stream.")]
Kafka = Annotated[
    str | None, typer.Option("--kafka", metavar="HOST:PORT", help="A running broker instead of one of our own.")
]
Redis = Annotated[str | None, typer.Option("--redis", metavar="URL", help="A running Redis instead of one of our own.")]


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
    def normalise(
        events: Events = 50_000,
        rounds: Rounds = 5,
        seed: Seed = 1,
        pure: Annotated[bool, typer.Option("--pure", help="Without a broker: only the code itself.")] = False,
        as_json: Json = False,
    ) -> None:
        """Measure webhook bodies to canonical events.

        Alone, beside reading and writing the same JSON; and as a role on a local Kafka, beside a plain loop.

        Example: stagepost bench normalise --json
        """
        from stagepost.bench.measure import machine, ratio
        from stagepost.bench.normalise import bench_normalise

        with progress_bar("measuring") as progress:
            report = bench_normalise(events, rounds, seed, progress, on_broker=not pure)
        if as_json:
            json_data(report.as_json())
            return
        rows = [
            _row("JSON in and out", report.plain, None),
            _row("normalise", report.normalised, ratio(report.normalised, report.plain)),
        ]
        notes = [f"an event takes {report.event_bytes:.0f} bytes on email.events"]
        plain, worker = report.end_to_end.plain, report.end_to_end.worker
        if plain is not None and worker is not None:
            rows += [_row("plain loop on a broker", plain, None), _row("run normalise", worker, ratio(worker, plain))]
            notes.append("on the broker until everything is committed; CPU of the worker's process, all its threads")
        elif not pure:
            notes.append(f"on a broker: skipped, {report.end_to_end.skipped}")
        data("\n".join([*_head(machine()), *rows, *notes]))

    @bench.command("journey")
    def journey(
        events: Events = 300_000,
        rounds: Rounds = 5,
        seed: Seed = 1,
        peers: Annotated[
            str, typer.Option("--peers", metavar="NAME,...", help="Other tools to run beside it, all, or none.")
        ] = "none",
        contacts: Annotated[
            int | None, typer.Option("--contacts", metavar="N", min=10, help="Default: a tenth of the events.")
        ] = None,
        kafka: Kafka = None,
        redis: Redis = None,
        as_json: Json = False,
    ) -> None:
        """Measure the journey role end to end.

        On a real broker, with and without Redis, as one process and as two.

        Peers: kafka-streams, quix, faust, redis-per-event. What they need is installed once, into the cache folder.

        Example: stagepost bench journey --events 500000 --peers all
        """
        from stagepost.bench.journey import bench_journey

        with _failing(kafka, redis), rate_bar("measuring") as progress:
            report = bench_journey(
                events, contacts or events // 10, rounds, seed, _peers(peers), kafka, redis, progress
            )
        if as_json:
            json_data(report.as_json())
        else:
            data(_journey_table(report))
        if not report.complete:
            note("a job made another number of transitions than it had to: see 'transitions' and 'expected' in --json")
            leave(FAILED)

    @bench.command("restore")
    def restore(
        contacts: Annotated[
            int, typer.Option("--events", metavar="N", min=1_000, max=5_000_000, help="Contact states in the topic.")
        ] = 500_000,
        rounds: Rounds = 5,
        seed: Seed = 1,
        kafka: Kafka = None,
        redis: Redis = None,
        as_json: Json = False,
    ) -> None:
        """Measure restores.

        Contact states from the state topic, read alone and restored into an empty Redis.

        Example: stagepost bench restore --events 1000000
        """
        from stagepost.bench.measure import machine
        from stagepost.bench.restore import GOALS, bench_restore

        with _failing(kafka, redis), rate_bar("measuring") as progress:
            report = bench_restore(contacts, rounds, seed, kafka, redis, progress)
        if as_json:
            json_data(report.as_json())
            return
        rows = [
            f"{title}: {figure.per_s:,.0f} a second (goal {GOALS[name]:,}), CPU {figure.median_us:.2f} us each"
            for name, title, figure in (
                ("reader", "state records from the topic", report.reader),
                ("restore", "contacts into Redis, wipe included", report.restore),
            )
        ]
        about = f"{report.contacts:,} contacts of {report.state_bytes:.0f} bytes in 8 partitions, Redis {report.redis}"
        data("\n".join([*_machine(machine()), *rows, about]))

    @bench.command("latency")
    def latency(
        rate: Annotated[int, typer.Option("--rate", metavar="N", min=10, max=200_000, help="Events a second.")] = 5_000,
        seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=3, max=3_600, help="Of load.")] = 30.0,
        seed: Seed = 1,
        kafka: Kafka = None,
        redis: Redis = None,
        as_json: Json = False,
    ) -> None:
        """Measure latency under a paced load.

        From the append of an event to its committed transition at a read_committed consumer.

        Example: stagepost bench latency --rate 5000 --seconds 60
        """
        from stagepost.bench.latency import GOAL_P99_MS, bench_latency
        from stagepost.bench.measure import machine

        with _failing(kafka, redis), rate_bar("measuring") as progress:
            report = bench_latency(rate, seconds, seed, kafka, redis, progress)
        found = report.as_json()
        if as_json:
            json_data(found)
            return
        rows = [
            f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms (goal {GOAL_P99_MS:g}), max {found['max_ms']} ms",
            f"{found['transitions']:,} transitions at {rate:,} events/s over {seconds:g} s, the first "
            f"{report.warm_s:.0f} s left out; worker {found['cpu_us']} us of CPU per event",
            f"load of the machine {report.load[0]:.1f} before, {report.load[1]:.1f} after; the generator was at most "
            f"{report.behind_s * 1000:.0f} ms behind its pace",
        ]
        data("\n".join([*_machine(machine()), *rows]))


@contextmanager
def _failing(kafka: str | None, redis: str | None) -> Iterator[None]:
    """What cannot be measured, as one line; the roles' own lines stay below warnings and on standard error."""
    import logging

    from stagepost.bench.rig import JobFailed
    from stagepost.edges import logs
    from stagepost.edges.local_servers import LocalServerError

    logs.configure(logging.WARNING)
    try:
        with server_failures(kafka or "a local port", redis or "a local port"):
            yield
    except (JobFailed, LocalServerError) as error:
        raise Failure(str(error)) from error


def _peers(names: str) -> Sequence[Peer]:
    from stagepost.bench.peers.install import PEERS

    if names in ("all", "none"):
        return PEERS if names == "all" else ()
    known = {peer.name: peer for peer in PEERS}
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        message = f"{unknown[0]!r} is none of {', '.join(known)}, all, none"
        raise typer.BadParameter(message, param_hint="--peers")
    return [known[name] for name in names.split(",")]


def _journey_table(report: JourneyReport) -> str:
    from stagepost.bench.journey import CAVEAT, FLOOR, JOURNEY, TITLES, TWO
    from stagepost.bench.measure import machine

    ratios = report.ratios()
    width = max(map(len, TITLES.values()))
    lines = [
        *_machine(machine()),
        f"{'':{width}} {'CPU us per event':>24} {'events/s (wall)':>16} {'peak MB':>8} {'CPU to journey':>15}",
    ]
    for name, row in report.rows.items():
        figure = row.figure
        span = f"{figure.median_us:.1f} ({min(figure.cpu_us):.1f} to {max(figure.cpu_us):.1f})"
        shown = "" if name in (FLOOR, JOURNEY) else f"{ratios[name]:.2f}"
        peak = max(row.peak_bytes) / 1e6
        lines.append(f"{TITLES[name]:{width}} {span:>24} {figure.per_s:>16,.0f} {peak:>8.0f} {shown:>15}")
    lines += [f"{TITLES[name]}: left out: {reason.splitlines()[0]}" for name, reason in report.skipped.items()]
    lines += [
        f"journey takes {ratios[JOURNEY]:.1f} times the CPU of consume + decode; two processes on both cores do "
        f"{report.two_to_one():.2f} times the events of one"
        if TWO in report.rows
        else "",
        f"{report.events:,} events of {report.event_bytes:.0f} bytes, {report.contacts:,} contacts; "
        f"every job made {'the' if report.complete else 'NOT the'} transitions that it had to",
        f"load of the machine {report.load[0]:.1f} before, {report.load[1]:.1f} after"
        + ("" if report.cores_apart else "; broker and worker share cores"),
        CAVEAT,
    ]
    return "\n".join(lines)


def _machine(machine: Any) -> Sequence[str]:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}",
        versions,
    )


def _head(machine: Any) -> Sequence[str]:
    return (*_machine(machine), f"{'':24} {'CPU us per event':>28} {'events/s and core':>19} {'ratio':>7}")


def _row(name: str, figure: Figure, ratio: float | None) -> str:
    span = f"{figure.median_us:.2f} ({min(figure.cpu_us):.2f} to {max(figure.cpu_us):.2f})"
    return f"{name:24} {span:>28} {figure.per_core:>19,.0f} {'' if ratio is None else f'{ratio:.2f}':>7}"
