"""``python -m stagepost.bench.worker``: the role ``journey`` with the mirror's memory twin in place of Redis.

Everything else is what ``stagepost run journey`` runs, by the same settings in the environment. The twin takes what
Redis would take, in the same thread, so the difference is Redis and its client. No product switch: a worker that
restarts with it finds an empty mirror and rebuilds it from the state topic.
"""

from __future__ import annotations

import logging
import os
import uuid

from stagepost.edges import logs
from stagepost.edges.memory import MemoryMirror
from stagepost.edges.metrics import Metrics
from stagepost.edges.roles import RunOptions
from stagepost.edges.signals import stopping
from stagepost.settings import load
from stagepost.wiring import build_role


def main() -> None:
    settings = load({}, None, os.environ).settings
    logs.configure(logging.INFO, as_json=True)
    role = build_role("journey", settings, RunOptions(uuid.uuid4().hex[:12]), Metrics(), MemoryMirror())
    with stopping(role.stop):
        role.run()


if __name__ == "__main__":
    main()
