"""The report of a campaign: JSON for machines, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.campaign import Result


def write(result: Result, about: dict[str, Any], folder: Path) -> Path:
    """``faults.json`` and ``faults.md`` in ``folder``; returns the latter."""
    data = as_data(result, about)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.json").write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
    (folder / "faults.md").write_text(as_text(data))
    return folder / "faults.md"


def as_data(result: Result, about: dict[str, Any]) -> dict[str, Any]:
    return {
        **about,
        "seconds": round(result.seconds, 1),
        "faults": dict(result.faults),
        "not_done": result.unharmed,
        "violations": result.verdict.violations,
        "compared": dict(result.verdict.counts),
        "recovery_s": {
            kind: {
                "n": len(times),
                "p50": round(at(times, 0.5), 2),
                "p95": round(at(times, 0.95), 2),
                "max": round(max(times), 2),
            }
            for kind, times in sorted(result.recoveries.items())
            if times
        },
        "failpoints": dict(sorted(result.failpoints.items())),
        "late_end_txn_by_error": dict(result.late_ends),
        "exits_by_code": dict(result.exits),
        "workers_counted": {name: number for name, number in sorted(result.counted.items()) if number},
        "events_fed": result.fed,
        "committed_per_s": {"calm": round(result.rate_calm, 1), "under_faults": round(result.rate_under_faults, 1)},
    }


def at(times: Sequence[float], share: float) -> float:
    """The value below which ``share`` of ``times`` lies, by nearest rank.

    >>> at([3.0, 1.0, 2.0, 10.0], 0.5), at([3.0, 1.0, 2.0, 10.0], 0.95)
    (2.0, 10.0)
    """
    ranked = sorted(times)
    return ranked[min(len(ranked) - 1, max(0, -int(-share * len(ranked) // 1) - 1))]


def as_text(data: dict[str, Any]) -> str:
    counted = data["workers_counted"]

    def total(name: str, label: str = "") -> int:
        return sum(
            number
            for sample, number in counted.items()
            if sample.split("{")[0] == f"stagepost_{name}" and label in sample
        )

    rows = []
    for kind, number in sorted(data["faults"].items()):
        took = data["recovery_s"].get(kind, {"p50": "", "p95": "", "max": ""})
        rows.append(f"| {kind} | {number} | {took['p50']} | {took['p95']} | {took['max']} |")
    rates = data["committed_per_s"]
    lines = [
        f"# Faults: seed {data['seed']}, {data['seconds'] / 60:.1f} minutes, {data['workers']} workers, "
        f"{data['brokers']} broker{'s' if data['brokers'] > 1 else ''}, {data['rate']:g} events a second",
        "",
        f"{sum(data['faults'].values())} faults, {data['events_fed']} events, "
        f"**{len(data['violations'])} violations**.",
        "",
        "| fault | times | recovery p50 (s) | p95 | max |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Compared: {', '.join(f'{number} {what}' for what, number in sorted(data['compared'].items()))}.",
        f"Committed events per second: {rates['calm']} calm, {rates['under_faults']} under faults.",
        f"Transactions: {total('transactions_total', 'committed')} committed, {total('transactions_total', 'aborted')} "
        f"aborted, {total('transactions_total', 'unknown')} unknown and settled; fenced "
        f"{total('fenced_total')}; producers replaced {total('producers_replaced_total')}; refusals of the mirror "
        f"{total('mirror_refusals_total')}; rebalances {total('rebalances_total')}.",
        f"Late EndTxn by the broker's error code: {data['late_end_txn_by_error']}.",
        f"Failpoints: {', '.join(f'{name} {number}' for name, number in data['failpoints'].items()) or 'none'}.",
        f"Exit codes of workers: {data['exits_by_code']}.",
    ]
    if data["violations"]:
        lines += ["", "## Violations", "", *(f"- {violation}" for violation in data["violations"])]
    if data["not_done"]:
        lines += ["", "## Not done", "", *(f"- {why}" for why in data["not_done"])]
    return "\n".join(lines) + "\n"
