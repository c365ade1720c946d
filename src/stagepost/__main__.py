"""``python -m stagepost``: the same as the script."""

from __future__ import annotations

from stagepost.cli.app import main

if __name__ == "__main__":
    main()
