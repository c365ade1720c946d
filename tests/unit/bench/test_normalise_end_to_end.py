from __future__ import annotations

import msgspec
import pytest

from stagepost.bench import normalise_end_to_end, stream
from stagepost.bench.normalise_end_to_end import EndToEnd, measure_end_to_end
from stagepost.edges.local_kafka import classpath, java
from stagepost.edges.local_servers import LocalServerError


def bodies() -> list[tuple[int, bytes]]:
    return [(at, posted) for at, posted in stream.posts(600, 50, 1) if isinstance(posted, bytes)]


def test_without_a_java_it_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(group: object) -> None:
        raise LocalServerError("no Java: install the extra 'local'")

    monkeypatch.setattr(normalise_end_to_end, "LocalKafka", none)
    assert EndToEnd(skipped="no Java: install the extra 'local'") == measure_end_to_end(bodies(), 600, 1)


def test_the_role_and_a_plain_loop_are_measured_until_all_is_committed() -> None:
    try:
        java(), classpath()
    except LocalServerError as error:
        pytest.skip(str(error))
    found, seen = bodies(), []
    events = sum(len(msgspec.json.decode(body)) for _, body in found)
    measured = measure_end_to_end(found, events, 1, lambda done, of: seen.append((done, of)))
    assert measured.skipped is None
    assert measured.plain is not None
    assert measured.worker is not None
    assert [(1, 2), (2, 2)] == seen
    assert (events, events) == (measured.plain.events, measured.worker.events)
    assert min(measured.plain.wall_us) > 0
    assert min(measured.worker.wall_us) > 0
