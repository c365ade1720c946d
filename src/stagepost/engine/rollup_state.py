"""State of the ``rollup`` role: what is kept of a scope and of the inputs, and its bytes.

Law: ``unpack(pack(x))`` computes on like ``x``, bit for bit. The first byte is the codec.
May not contain: what is done with it (``engine/rollup_worker.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct, msgpack

from stagepost.alerts import Alarm, AlertRecord, Prior, SpikeScan
from stagepost.alerts.exposure import Series
from stagepost.rollup.counters import Counters
from stagepost.rollup.watermark import Inputs

CODEC = 1
"""Written as the first byte of every state; an older worker refuses a newer one."""

INPUTS_KEY = "\x00inputs"
"""Reserved state key of ``Inputs``; a scope type cannot begin with a NUL."""

ATTENTION = 0
"""Due time of a scope that the next record has to look at, whatever its time: something waits for broker time, or an
incident moves with the watermark."""


@dataclass(slots=True)
class Scope:
    """Everything of one scope. Changed only on a copy of its own (``copy``)."""

    counters: Counters = field(default_factory=Counters)
    flushed_at: int = 0
    """Broker time of the last write of changed windows, micros."""
    flush_at: int | None = None
    """Broker time of the next one; None when nothing changed."""
    close_at: int | None = None
    """Watermark at which a window may have to be closed or forgotten; None: no window is left to."""
    scans: dict[str, SpikeScan] = field(default_factory=dict)
    """By metric of the detection."""
    alarms: dict[str, Alarm] = field(default_factory=dict)
    records: dict[str, AlertRecord] = field(default_factory=dict)
    """The newest record of each metric's incident, for publishing again."""

    def copy(self) -> Scope:
        return Scope(
            counters=self.counters.copy(),
            flushed_at=self.flushed_at,
            flush_at=self.flush_at,
            close_at=self.close_at,
            scans={metric: scan.copy() for metric, scan in self.scans.items()},
            alarms=dict(self.alarms),
            records=dict(self.records),
        )

    @property
    def due(self) -> int | None:
        """When the scope wants to be looked at again: ATTENTION, a watermark in micros, or None."""
        if self.flush_at is not None or any(alarm.waits for alarm in self.alarms.values()):
            return ATTENTION
        return self.close_at


class _PackedScope(Struct, frozen=True, array_like=True, tag="scope"):
    counters: Counters
    flushed_at: int
    flush_at: int | None
    close_at: int | None
    due: int | None
    series: dict[str, Series]
    alarms: dict[str, Alarm]
    records: dict[str, AlertRecord]


class _PackedInputs(Struct, frozen=True, array_like=True, tag="inputs"):
    inputs: Inputs


_encode = msgpack.Encoder().encode
_decoder: msgpack.Decoder[_PackedScope | _PackedInputs] = msgpack.Decoder(_PackedScope | _PackedInputs)


def scan_of(metric: str, series: Series | None = None) -> SpikeScan:
    """The scan of a metric; priors and variances are the shipped ones until they can be learned."""
    return SpikeScan(metric, Prior.shipped(metric), {}, series=series)


def pack_scope(scope: Scope) -> bytes:
    return bytes([CODEC]) + _encode(
        _PackedScope(
            counters=scope.counters,
            flushed_at=scope.flushed_at,
            flush_at=scope.flush_at,
            close_at=scope.close_at,
            due=scope.due,
            series={metric: scan.series() for metric, scan in scope.scans.items()},
            alarms=scope.alarms,
            records=scope.records,
        )
    )


def unpack_scope(value: bytes) -> Scope:
    """Raises ``ValueError`` for another codec, or bytes that are no scope."""
    packed = _unpack(value)
    if not isinstance(packed, _PackedScope):
        raise ValueError("the state of the inputs under the key of a scope")
    return Scope(
        counters=packed.counters,
        flushed_at=packed.flushed_at,
        flush_at=packed.flush_at,
        close_at=packed.close_at,
        scans={metric: scan_of(metric, series) for metric, series in packed.series.items()},
        alarms=packed.alarms,
        records=packed.records,
    )


def pack_inputs(inputs: Inputs) -> bytes:
    return bytes([CODEC]) + _encode(_PackedInputs(inputs))


def unpack_inputs(value: bytes) -> Inputs:
    """Raises ``ValueError`` for another codec, or bytes that are no inputs."""
    packed = _unpack(value)
    if not isinstance(packed, _PackedInputs):
        raise ValueError("the state of a scope under the key of the inputs")
    return packed.inputs


def due_of(value: bytes) -> int | None:
    """The due time in any packed state."""
    packed = _unpack(value)
    return packed.due if isinstance(packed, _PackedScope) else None


def scopes_in(values: Mapping[str, bytes]) -> dict[str, Scope]:
    """All scopes among packed states, by key in order."""
    return {key: unpack_scope(values[key]) for key in sorted(values) if key != INPUTS_KEY}


def _unpack(value: bytes) -> _PackedScope | _PackedInputs:
    if not value or value[0] != CODEC:
        raise ValueError(f"codec {value[:1].hex() or 'missing'} of a rollup state; this version knows {CODEC}")
    return _decoder.decode(memoryview(value)[1:])
