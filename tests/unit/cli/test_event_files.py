"""Recorded events from files: what is read, what is told, and the bar of a large file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
import zstandard
from rich.console import Console

from stagepost.cli.event_files import LARGE, LINE_LIMIT, BadLines, read_events, with_progress
from stagepost.cli.output import Failure


def line(number: int, **more: object) -> bytes:
    event = {"id": f"e{number}", "type": "a.b", "occurred_at": "2026-03-01T10:00:00Z", "contact": "c"}
    return json.dumps(event | more).encode() + b"\n"


def ids(file: Path, bad: BadLines | None = None) -> list[str]:
    return [event.id for event, _ in read_events(str(file), bad or BadLines())]


def test_blank_lines_are_nothing_and_the_last_line_needs_no_end(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson"
    file.write_bytes(line(1) + b"\n  \n" + line(2).strip())
    assert ["e1", "e2"] == ids(file)


def test_a_line_that_is_too_long_is_one_bad_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, bad = tmp_path / "e.ndjson", BadLines()
    file.write_bytes(line(1) + b"x" * (2 * LINE_LIMIT + 5) + b"\n" + b"y" * LINE_LIMIT + b"\n" + line(2))
    assert (["e1", "e2"], 2) == (ids(file, bad), bad.count)
    assert ["line 2: oversize", "line 3: oversize"] == [
        told.rpartition(": ")[0] for told in capsys.readouterr().err.splitlines()
    ]


def test_all_frames_of_a_compressed_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson.zst"
    file.write_bytes(zstandard.compress(line(1) + line(2)) + zstandard.compress(line(3)))
    assert ["e1", "e2", "e3"] == ids(file)


def test_a_broken_compressed_file_is_a_failure_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson.zst"
    file.write_bytes(b"no frame at all")
    with pytest.raises(Failure, match=r"e\.ndjson\.zst: cannot be read: not zstd"):
        ids(file)


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.999])
def test_a_compressed_file_that_was_cut_is_a_failure_that_counts_what_was_read(tmp_path: Path, kept: float) -> None:
    file = tmp_path / "e.ndjson.zst"
    whole = zstandard.compress(b"".join(line(n, x=n * 2654435761 % 2**32) for n in range(50_000)))
    file.write_bytes(zstandard.compress(line(1)) + whole[: int(len(whole) * kept)])
    read: list[str] = []
    with pytest.raises(
        Failure, match=r"cannot be read: it ends inside a zstd frame, so it was cut \(.* read before"
    ) as cut:
        read.extend(event.id for event, _ in read_events(str(file), BadLines()))
    assert f"({len(read):,} events read before)" in str(cut.value)


def test_a_compressed_file_of_nothing_holds_no_event(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson.zst"
    file.write_bytes(b"")
    assert [] == ids(file)


def test_what_is_packed_very_small_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson.zst"
    file.write_bytes(zstandard.compress(line(1) + b" " * (40 << 20) + b"\n" + line(2)))
    assert ["e1", "e2"] == ids(file)


def test_a_file_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="no such file"):
        read_events(str(tmp_path / "none"), BadLines(), "--from")


def test_a_large_file_says_how_fast_it_was_read_also_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "e.ndjson"
    file.write_bytes(line(1, data={"x": "y" * 100_000}) * (LARGE // 100_000 + 1))
    assert LARGE // 100_000 + 1 == len(ids(file))
    output = capsys.readouterr()
    assert ("", True) == (output.out, "42 lines in " in output.err and "lines/s" in output.err)


def ticking() -> Callable[[], float]:
    ticks: Iterator[int] = iter(range(10**6))
    return lambda: next(ticks) / 2


def test_a_terminal_sees_a_bar_with_the_rate_and_the_remaining_time() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, legacy_windows=False)
    read = list(with_progress([b"x"] * 3000, lambda: 50, 100, console, ticking()))
    shown = screen.getvalue()
    assert 3000 == len(read)
    assert "50%" in shown and "lines/s" in shown
    assert "3,000 lines in " in shown.splitlines()[-1]


def test_without_a_terminal_there_is_the_last_line_only() -> None:
    screen = io.StringIO()
    list(with_progress([b"x"] * 3000, lambda: 50, 100, Console(file=screen), ticking()))
    assert "3,000 lines in 0.5 s, 3,000 lines/s\n" == screen.getvalue()
