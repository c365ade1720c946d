"""What topics check says to do about a difference; the verbs themselves are tested with a broker."""

from __future__ import annotations

import pytest

from stagepost.cli.topics import _remedies


@pytest.mark.parametrize(
    ("what", "commands"),
    [
        ({"topic"}, ["stagepost topics create"]),
        ({"partitions"}, ["stagepost repartition --partitions N"]),
        ({"cleanup.policy", "retention.ms"}, ["kafka-configs --alter"]),
        ({"topic", "partitions", "retention.ms"}, ["topics create", "repartition", "kafka-configs"]),
        (set(), []),
    ],
)
def test_each_difference_has_its_remedy(what: set[str], commands: list[str]) -> None:
    told = list(_remedies(what))
    assert len(told) == len(commands)
    assert all(command in line for command, line in zip(commands, told, strict=True))
