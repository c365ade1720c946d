"""A small file system for the servers, which a fault can fill."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE_MB = 400
"""Of Kafka's folder a new installation takes some 10 MB, its sparse indexes not counted."""


@contextmanager
def small_disk(place: Path) -> Iterator[str]:
    """Mount one at an empty folder, as only root may; yields why not, or nothing."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(place)]
    mounting = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounting.returncode != 0:
        yield mounting.stderr.strip() or "mount failed"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Write until nothing more goes in; returns the file to remove."""
    filler, block = place / "filler", bytes(1 << 20)
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(block) == len(block):
                pass
    except OSError:
        pass
    return filler
