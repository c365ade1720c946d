"""What the composition reads from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagepost.settings import SettingsError, load
from stagepost.wiring import read_journeys


def test_a_worker_refuses_a_journey_file_that_is_no_utf_8_text_as_validate_does(tmp_path: Path) -> None:
    (tmp_path / "path.yaml").write_bytes(b"journey: path\nstages:\n  - joined: x.y\n  - caf\xe9: x.z\n")
    settings = load({}, None, {"STAGEPOST_JOURNEYS": str(tmp_path)}, tmp_path).settings
    with pytest.raises(SettingsError, match=r"path\.yaml:4:8"):
        read_journeys(settings)
