"""What stands beside a committed offset, also where another program wrote it."""

from __future__ import annotations

from typing import Any

from stagepost.edges.group_offsets import metadata_of
from stagepost.edges.ports import decode_committed


class Committed:
    def __init__(self, metadata: bytes | None) -> None:
        self._metadata = metadata

    @property
    def metadata(self) -> str | None:
        return None if self._metadata is None else self._metadata.decode()


def test_what_is_no_text_was_written_by_another_program() -> None:
    found: list[Any] = [Committed(b'{"s":3,"v":1}'), Committed(None), Committed(b"\x02\xa9\xff")]
    assert [metadata_of(each) for each in found] == ['{"s":3,"v":1}', None, ""]
    assert decode_committed(7, metadata_of(found[2])).seq is None
