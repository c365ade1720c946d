"""The ``normalise`` role as a pure processor: records of ``email.raw`` to canonical events and dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, structs

from stagepost.engine import cloudevents
from stagepost.engine.dead_letters import dead_letter
from stagepost.engine.plan import Emit, PartitionPlan, Record, Topic
from stagepost.engine.retries import parts_to_retry
from stagepost.events import Event, RawPlace, Reason, Rejected, encode_json, parse_rfc3339
from stagepost.normalise import (
    PROVIDERS,
    AccountConfig,
    Limits,
    Normalised,
    Post,
    account_of,
    canonical_name,
    certified,
    normalise,
)

CertificateSource = Callable[[str], str | None]
"""The certificate at a URL whose host was checked, as PEM; None where there is none. May raise what makes the loop read
the batch again: what cannot be checked now is neither passed nor refused."""

ACCOUNT_LIMIT = 256
"""Bytes of the header ``account``: it is on every event of its body, and another account would have other keys."""

EVENT_LIMIT = 8 << 20
"""Bytes of one event that its topic takes with room to spare, however little they compress. One of this size is read by
nobody: ``journey`` takes 256 KiB."""

_HTTP = "http."
_JSON = ("content-type", b"application/json")


class _NotNow(Exception):
    """A certificate cannot be had now, which says nothing about the record."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def no_certificates(url: str) -> str | None:
    """For accounts whose certificates are among their secrets."""
    return None


class NormaliseProcessor(Struct, frozen=True):
    """``Stateless`` for ``email.raw``. ``accounts`` by name, see ``account_of``."""

    accounts: Mapping[str, AccountConfig]
    tenant_key: bytes
    prefix: str = ""
    group: str = ""
    input: Topic = Topic.RAW
    certificates: CertificateSource = no_certificates
    limits: Limits = Limits()

    def plan(self, partition: int, seq: int, records: Sequence[Record], next_offset: int) -> PartitionPlan:
        emits: list[Emit] = []
        counts: Counter[tuple[str, ...]] = Counter()
        for record in records:
            provider, result, made = self._read(record)
            emits += made
            if result.rejected:
                emits.append(
                    dead_letter(record, Topic.RAW_DLQ, self.prefix + record.topic, self.group, result.rejected)
                )
            self._count(counts, provider, result)
        return PartitionPlan(
            partition=partition, seq=seq, next_offset=next_offset, clock=0, emits=tuple(emits), counts=counts
        )

    def refuse(self, partition: int, seq: int, record: Record, why: Rejected) -> PartitionPlan:
        counts: Counter[tuple[str, ...]] = Counter()
        self._count(counts, "unknown", Normalised(rejected=(why,)))
        letter = dead_letter(record, Topic.RAW_DLQ, self.prefix + record.topic, self.group, [why])
        return PartitionPlan(
            partition=partition, seq=seq, next_offset=record.offset + 1, clock=0, emits=(letter,), counts=counts
        )

    def _read(self, record: Record) -> tuple[str, Normalised, list[Emit]]:
        """What becomes of one record: never its neighbours' or the worker's end."""
        try:
            provider, result = self._normalise(record)
            trace = cloudevents.trace_of(record.headers)
            headers = (_JSON, *trace)
            made = [
                Emit(topic=Topic.EVENTS, key=event.contact.encode(), value=encode_json(event), headers=headers)
                for event in result.events
            ]
        except _NotNow as error:
            raise error.cause from None
        except Exception as error:
            told = Rejected(Reason.RULE_ERROR, f"{type(error).__name__} while the body was read")
            return "unknown", Normalised(rejected=(told,)), []
        if any(len(emit.value or b"") > EVENT_LIMIT for emit in made):
            result, made = _without_large(result, made)
        return provider, result, made

    def _certificate(self, url: str) -> str | None:
        try:
            return self.certificates(url)
        except Exception as error:
            raise _NotNow(error) from error

    def _normalise(self, record: Record) -> tuple[str, Normalised]:
        headers = {
            name.lower(): value.decode("utf-8", "replace") for name, value in record.headers if value is not None
        }
        provider = canonical_name(headers.get("provider", ""))
        if provider not in PROVIDERS:
            told = "no provider in the headers" if not provider else "not a provider that stagepost knows"
            refused = Rejected(Reason.UNKNOWN_PROVIDER, f"{told}; known: {', '.join(sorted(PROVIDERS))}")
            return "unknown", Normalised(rejected=(refused,))
        account = headers.get("account") or "default"
        if len(account.encode()) > ACCOUNT_LIMIT:
            refused = Rejected(Reason.SCHEMA, f"the header account is longer than {ACCOUNT_LIMIT} bytes")
            return provider, Normalised(rejected=(refused,))
        post = Post(
            provider=provider,
            account=account,
            body=record.value or b"",
            headers=_http_headers(headers),
            received_at=_received_at(headers.get("received_at"), record.timestamp),
            url=headers.get("url"),
            place=(self.prefix + record.topic, record.partition, record.offset),
            limits=self.limits,
        )
        config = account_of(self.accounts, provider, account)
        post = certified(post, config, self._certificate)
        return provider, normalise(post, config, self.tenant_key, parts_to_retry(record.headers))

    @staticmethod
    def _count(counts: Counter[tuple[str, ...]], provider: str, result: Normalised) -> None:
        checked = "none" if result.verified is None else "valid" if result.verified else "invalid"
        counts["signature_checks_total", provider, checked] += 1
        counts["parts_total", "in"] += result.parts
        counts["parts_total", "event"] += len(result.events)
        counts["parts_total", "rejected"] += len(result.rejected)
        counts["parts_total", "no_event"] += result.without_event
        for type_, number in Counter([event.type for event in result.events]).items():
            counts["events_consumed_total", Topic.RAW, provider, type_] += number
        for type_, number in Counter([event.type for event in result.events if event.machine]).items():
            counts["machine_events_total", provider, type_] += number
        for rejected in result.rejected:
            counts["events_dead_lettered_total", rejected.reason] += 1


def _without_large(result: Normalised, made: list[Emit]) -> tuple[Normalised, list[Emit]]:
    """Events that their topic would refuse are rejected parts of the body."""
    kept = [len(emit.value or b"") <= EVENT_LIMIT for emit in made]
    events = list(zip(result.events, kept, strict=True))
    refused = tuple(
        Rejected(Reason.OVERSIZE, f"an event of more than {EVENT_LIMIT} bytes", _part_of(event))
        for event, fits in events
        if not fits
    )
    result = structs.replace(
        result, events=tuple(event for event, fits in events if fits), rejected=(*result.rejected, *refused)
    )
    return result, [emit for emit, fits in zip(made, kept, strict=True) if fits]


def _part_of(event: Event) -> int:
    return event.raw.part if isinstance(event.raw, RawPlace) else 0


def _http_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The request's headers as the bridge kept them: ``http.<name>``, and the content type under its own name."""
    kept = {name[len(_HTTP) :]: value for name, value in headers.items() if name.startswith(_HTTP)}
    if "content-type" in headers:
        kept.setdefault("content-type", headers["content-type"])
    return kept


def _received_at(text: str | None, timestamp: int) -> int:
    """When the bridge received the post; the record's timestamp where the header is missing or no time."""
    if text is None:
        return timestamp
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        return timestamp
