"""The bytes of the rollup's state."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagepost.alerts import Alarm, Phase, judge
from stagepost.engine.rollup_state import (
    ATTENTION,
    CODEC,
    INPUTS_KEY,
    Scope,
    due_of,
    pack_inputs,
    pack_scope,
    scan_of,
    scopes_in,
    unpack_inputs,
    unpack_scope,
)
from stagepost.rollup.watermark import Inputs

NOON = 20_000 * 288 + 144


def firing() -> Scope:
    scope = Scope(flushed_at=5, close_at=9)
    scope.counters.add(NOON, {"delivered": 3000, "complained": 40}, 0)
    scan = scan_of("complaint")
    scan.observe(NOON, 3000, 40)
    scope.scans["complaint"] = scan
    scope.alarms["complaint"], _ = judge(Alarm(), scan, NOON, "campaign")
    return scope


def test_a_scope_survives_its_bytes() -> None:
    scope = firing()
    again = unpack_scope(pack_scope(scope))
    assert pack_scope(scope) == pack_scope(again)
    assert (scope.counters, scope.alarms, scope.flushed_at) == (again.counters, again.alarms, again.flushed_at)
    assert scope.scans["complaint"].statistic(NOON) == again.scans["complaint"].statistic(NOON)


def test_the_inputs_survive_their_bytes() -> None:
    inputs = Inputs().took(3, 5, 100, 7)
    assert inputs == unpack_inputs(pack_inputs(inputs))


def test_a_scope_with_something_to_write_or_an_incident_that_moves_asks_for_attention() -> None:
    assert [ATTENTION, ATTENTION, 9, None] == [
        due_of(pack_scope(scope)) for scope in (firing(), Scope(flush_at=10**15), Scope(close_at=9), Scope())
    ]
    assert None is due_of(pack_inputs(Inputs()))


def test_another_codec_and_mistaken_keys_are_refused() -> None:
    packed = pack_scope(Scope())
    for value in (b"", bytes([CODEC + 1]) + packed[1:]):
        with pytest.raises(ValueError, match="codec"):
            unpack_scope(value)
    with pytest.raises(ValueError, match="under the key of a scope"):
        unpack_scope(pack_inputs(Inputs()))
    with pytest.raises(ValueError, match="under the key of the inputs"):
        unpack_inputs(packed)


def test_scopes_are_found_among_all_states_in_order() -> None:
    values = {"campaign/b": pack_scope(Scope()), INPUTS_KEY: pack_inputs(Inputs()), "campaign/a": pack_scope(Scope())}
    assert ["campaign/a", "campaign/b"] == list(scopes_in(values))


def test_a_copy_is_independent() -> None:
    scope = firing()
    packed, copy = pack_scope(scope), scope.copy()
    copy.counters.add(NOON, {"opened": 1}, 0)
    copy.scans["complaint"].observe(NOON, 1, 1)
    copy.alarms.clear()
    assert packed == pack_scope(scope)


def test_the_state_of_a_busy_campaign_stays_small() -> None:
    """Three days in which every five minutes has every metric: a hundred campaigns at once are some megabytes."""
    scope = Scope(scans={"complaint": scan_of("complaint"), "unsubscribe": scan_of("unsubscribe")})
    metrics = {f"metric.{n}": 200 for n in range(20)}
    for bin_ in range(NOON, NOON + 3 * 288):
        scope.counters.add(bin_, metrics, 0)
        for scan in scope.scans.values():
            scan.observe(bin_, 200, 3)
    assert len(pack_scope(scope)) < 80_000


GOLDEN = Path(__file__).parent / "golden" / f"rollup_scope_{CODEC}.bin"
"""What this codec wrote when it was made; a worker of any later version has to read it."""


def test_a_state_written_by_the_first_release_of_the_codec_reads_and_writes_the_same() -> None:
    value = GOLDEN.read_bytes()
    scope = unpack_scope(value)
    assert value == pack_scope(scope)
    assert {"delivered": 3000, "complained": 40} == scope.counters.life()
    assert (Phase.FIRING, ATTENTION) == (scope.alarms["complaint"].phase, due_of(value))
    assert 40 == scope.scans["complaint"].statistic(NOON).events
