"""The program: ``stagepost`` and ``python -m stagepost``.

May not contain: imports beyond these at its top. The program's own take most of a second, and a role that is asked to
end within it has nothing to finish.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

_SERVING = ("run", "bridge")
"""Verbs that end with 0 when they are asked to."""

_INTERRUPTED = 128 + signal.SIGINT


def main() -> NoReturn:
    """Entry point of the script."""
    if sys.argv[1:2] and sys.argv[1] in _SERVING:
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:  # else Ctrl-C is ignored, as by a process in the background
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(_INTERRUPTED))
    from stagepost.cli.app import main as program

    signal.signal(signal.SIGINT, interrupt)
    program()


if __name__ == "__main__":
    main()
