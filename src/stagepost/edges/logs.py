"""Structured logs on standard error: JSON lines, or plain text on a terminal.

Fields come from an allow-list: what is not on it is left out and only its name is kept, so that no payload, address or
contact id can slip in. Above DEBUG a contact id is left out too. Libraries' own log lines take the same way.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from stagepost.edges.log_limits import LIBRDKAFKA, RateLimit

FIELDS = frozenset(
    """
    event level timestamp logger exception left_out
    role instance version host port pid prefix
    topic partition partitions offset from_offset to_offset seq generation member group
    records contacts count bytes attempt wait_s duration_s age_s lag restart_in_s timeout_s
    reason detail error code state result action
    journey stage kind definitions
    alert severity scope_type incident_id rev status channel receiver
    provider account path name
    """.split()
)
"""Every field that a log line may have. None of them can hold what a person or a provider wrote."""

_ONLY_FOR_DEBUG = frozenset({"contact", "message", "campaign"})

_ADDRESS = re.compile(r"[^\s@<>\"'(),:;=]+@[^\s@<>\"'(),:;=]+\.[^\s@<>\"'(),:;=]+")
_PASSWORD = re.compile(r"(://[^/@\s]*?:)[^@\s]*@")

Fields = MutableMapping[str, Any]


def configure(level: int = logging.INFO, stream: TextIO | None = None, as_json: bool | None = None) -> None:
    """Set up the process's logs, once. ``as_json`` None: unless ``stream`` (standard error) is a terminal."""
    out = stream or sys.stderr
    plain = out.isatty() if as_json is None else not as_json
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        allow_listed,
        redacted,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        if plain
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(RateLimit(LIBRDKAFKA))
    logging.getLogger(LIBRDKAFKA).disabled = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def logger(name: str, **fields: object) -> structlog.stdlib.BoundLogger:
    """A logger whose lines all have ``fields``."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound.bind(**fields)


def allow_listed(_logger: object, level: str, fields: Fields) -> Fields:
    """Leave out what is not on the list, keeping the names."""
    allowed = FIELDS | _ONLY_FOR_DEBUG if level == "debug" else FIELDS
    kept = {name: value for name, value in fields.items() if name in allowed or name.startswith("_")}
    left_out = sorted(fields.keys() - kept.keys())
    if left_out:
        kept["left_out"] = left_out
    return kept


def redacted(_logger: object, _level: str, fields: Fields) -> Fields:
    """Replace addresses and passwords in texts: those of exceptions and libraries are not ours."""
    for name, value in fields.items():
        if isinstance(value, str) and not name.startswith("_"):
            fields[name] = _ADDRESS.sub("<address>", _PASSWORD.sub(r"\1***@", value))
    return fields
