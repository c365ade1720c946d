"""The ``normalise`` role as a pure processor: records of ``email.raw`` to canonical events and dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from stagepost.engine import cloudevents
from stagepost.engine.dead_letters import dead_letter
from stagepost.engine.plan import Emit, PartitionPlan, Record, Topic
from stagepost.engine.retries import parts_to_retry
from stagepost.events import Reason, Rejected, encode_json, parse_rfc3339
from stagepost.normalise import PROVIDERS, AccountConfig, Normalised, Post, canonical_name, certified, normalise

CertificateSource = Callable[[str], str | None]
"""The certificate at a URL whose host was checked, as PEM; None where there is none. May raise what makes the loop read
the batch again: what cannot be checked now is neither passed nor refused."""

ACCOUNT_LIMIT = 256
"""Bytes of the header ``account``: it is on every event of its body, and another account would have other keys."""

_HTTP = "http."
_JSON = ("content-type", b"application/json")


def no_certificates(url: str) -> str | None:
    """For accounts whose certificates are among their secrets."""
    return None


class NormaliseProcessor(Struct, frozen=True):
    """``Stateless`` for ``email.raw``. ``accounts`` by name; a name that is not there has the defaults."""

    accounts: Mapping[str, AccountConfig]
    tenant_key: bytes
    prefix: str = ""
    group: str = ""
    input: Topic = Topic.RAW
    certificates: CertificateSource = no_certificates

    def plan(self, partition: int, seq: int, records: Sequence[Record], next_offset: int) -> PartitionPlan:
        emits: list[Emit] = []
        counts: Counter[tuple[str, ...]] = Counter()
        for record in records:
            provider, result = self._normalise(record)
            trace = cloudevents.trace_of(record.headers)
            headers = (_JSON, *trace)
            emits += [
                Emit(topic=Topic.EVENTS, key=event.contact.encode(), value=encode_json(event), headers=headers)
                for event in result.events
            ]
            if result.rejected:
                emits.append(
                    dead_letter(record, Topic.RAW_DLQ, self.prefix + record.topic, self.group, result.rejected)
                )
            self._count(counts, provider, result)
        return PartitionPlan(
            partition=partition, seq=seq, next_offset=next_offset, clock=0, emits=tuple(emits), counts=counts
        )

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
        )
        config = self.accounts.get(account) or AccountConfig(provider=provider)
        post = certified(post, config, self.certificates)
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
