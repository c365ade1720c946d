"""From journeys to a Program: conditions compiled once, indexed by what can touch them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stagepost.journey.definition import Journey


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled journeys. ``versions``: journey name to version of its definition."""

    versions: dict[str, str]


def compile_program(journeys: Sequence[Journey]) -> Program:
    """Compile journeys whose names differ."""
    return Program({journey.name: journey.version for journey in journeys})
