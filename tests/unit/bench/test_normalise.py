from __future__ import annotations

from stagepost.bench.normalise import bench_normalise


def test_normalising_is_measured_beside_reading_and_writing_the_same_json() -> None:
    found = bench_normalise(400, 1, 1, on_broker=False).as_json()
    assert found["plain"]["events"] == found["normalise"]["events"] > 300
    assert found["normalise"]["ratio_to_plain"] > 0
    assert 600 < found["event_bytes"] < 1_000
    assert found["end_to_end"] == {"skipped": "not asked for"}
