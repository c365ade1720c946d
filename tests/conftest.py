"""What all suites share: the fixtures that users may import too."""

from __future__ import annotations

pytest_plugins = ["stagepost.testing.fixtures"]
