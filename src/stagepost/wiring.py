"""The one place that names concrete parts: settings in, a role out."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stagepost.edges.errors import Unstable
from stagepost.edges.failpoints import failpoint_of
from stagepost.edges.kafka_log import KafkaLog, KafkaSettings
from stagepost.edges.keys import MirrorKeys
from stagepost.edges.metrics import Metrics
from stagepost.edges.mirror import RedisMirror, connect
from stagepost.edges.roles import Role, RunOptions
from stagepost.edges.runner import RunnerConfig, kafka_runner
from stagepost.edges.running import RunningJourneys
from stagepost.edges.sns import Certificates
from stagepost.edges.topics import TopicNames
from stagepost.edges.waiting import await_kafka
from stagepost.engine.dead_letter_guard import GuardConfig
from stagepost.engine.journey_worker import JourneyProcessor
from stagepost.engine.normalise_worker import NormaliseProcessor
from stagepost.engine.plan import Stateful, Stateless, Topic
from stagepost.engine.rollup_worker import RollupProcessor
from stagepost.events import parse_rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_bytes
from stagepost.normalise import AccountConfig, Limits
from stagepost.normalise.signatures import never_fits
from stagepost.settings import Settings, SettingsError

if TYPE_CHECKING:
    from stagepost.edges.bridge import Bridge
    from stagepost.edges.doctor import Doctor
    from stagepost.edges.erasing import Eraser
    from stagepost.edges.ports import Mirror
    from stagepost.edges.repartition import Repartition

OUTPUTS = {
    "normalise": (Topic.EVENTS, Topic.RAW_DLQ),
    "journey": (Topic.TRANSITIONS, Topic.CONTACTS, Topic.TALLIES, Topic.EVENTS_DLQ),
    "rollup": (Topic.METRICS, Topic.ALERTS, Topic.TALLIES_DLQ),
}
"""What each role writes beside its state; missing ones are named at the start."""

_INPUTS = {
    "journey": (Topic.EVENTS, Topic.STATE),
    "rollup": (Topic.EVENTS, Topic.TALLIES, Topic.ROLLUP),
}
"""What a role reads, or has to know the partitions of, before its processor can be made."""

_TIMES = {
    "session.timeout.ms": "session_timeout_ms",
    "max.poll.interval.ms": "max_poll_interval_ms",
    "transaction.timeout.ms": "transaction_timeout_ms",
    "message.timeout.ms": "message_timeout_ms",
}
"""Raw client settings that the runner has to know too."""


def build_role(
    role: str, settings: Settings, options: RunOptions, metrics: Metrics, mirror: Mirror | None = None
) -> Role:
    """The role, ready to run; ``mirror`` in place of the one in Redis, to measure what that costs.

    Raises SettingsError, or MissingTopics from the broker; reads the journey files.
    """
    if role == "notify":
        from stagepost.edges.notify import NotifyRole

        return NotifyRole(settings, options.instance, metrics)
    kafka = kafka_settings(settings)
    if options.named:
        kafka = replace(kafka, static_member=options.instance)
    log = KafkaLog(kafka, role, options.instance, settings.prefix, Topic.EVENTS)
    processor = _processor(role, settings, TopicNames(settings.prefix).group(role), log)
    if isinstance(processor, JourneyProcessor):
        for name, version in processor.program.versions.items():
            metrics.set("journey_info", 1, name, version)
    start = options.start if options.start in ("earliest", "latest") else parse_rfc3339(options.start)
    config = RunnerConfig(
        role=role,
        instance=options.instance,
        prefix=settings.prefix,
        topics=OUTPUTS[role],
        batch=settings.engine.batch,
        piece=settings.engine.piece,
        idle_after_s=settings.engine.idle_after,
        start_from=start,
        rebuild=options.rebuild,
        transaction_timeout_s=kafka.transaction_timeout_ms / 1000,
        max_poll_s=kafka.max_poll_interval_ms / 1000,
        guard=GuardConfig(
            settings.engine.dead_letter_share, settings.engine.dead_letter_window, settings.engine.dead_letter_run
        ),
    )
    failpoint = failpoint_of(os.environ.get("STAGEPOST_FAILPOINT"), 1.5 * config.transaction_timeout_s)
    return kafka_runner(config, kafka, settings.redis.url, processor, metrics, failpoint, mirror)


def await_cluster(settings: Settings, asked_to_end: Callable[[], bool], name: str) -> bool:
    """Wait until Kafka answers; see ``edges/waiting.py``."""
    return await_kafka(kafka_settings(settings).base(), asked_to_end, name)


def build_bridge(settings: Settings, address: tuple[str, int], metrics: Metrics) -> Bridge:
    """The webhook receiver, bound to its port. Raises OSError when that is taken, MissingTopics from the broker; one
    that is away is no reason not to stand at the door and say "later"."""
    from stagepost.edges.bridge import Bridge
    from stagepost.edges.confirmed import ConfirmedProducer

    kafka = kafka_settings(settings)
    with suppress(Unstable):
        KafkaLog(kafka, "bridge", "bridge", settings.prefix, Topic.RAW).partitions([Topic.RAW])
    producer = ConfirmedProducer(kafka.base(), TopicNames(settings.prefix))
    return Bridge(
        address, account_configs(settings), producer, metrics, settings.bridge.public_url, limits_of(settings)
    )


def running_journeys(settings: Settings) -> RunningJourneys:
    """What the ``journey`` role has in Redis, to look at. Connects when it is asked."""
    mirror = RedisMirror(connect(settings.redis.url), MirrorKeys.of(settings.prefix, "journey"), settings.engine.piece)
    return RunningJourneys(mirror)


def eraser(settings: Settings) -> Eraser:
    """What publishes an erasure and follows it. Connects when it is asked."""
    from stagepost.edges.erasing import Eraser

    mirror = RedisMirror(connect(settings.redis.url), MirrorKeys.of(settings.prefix, "journey"), settings.engine.piece)
    return Eraser(kafka_settings(settings).base(), TopicNames(settings.prefix), mirror)


def doctor_of(settings: Settings) -> Doctor:
    """The checks of an installation. Connects when it is asked."""
    from stagepost.edges.doctor import Doctor

    client = connect(settings.redis.url)
    mirror = RedisMirror(client, MirrorKeys.of(settings.prefix, "journey"), settings.engine.piece)
    kafka = kafka_settings(settings)
    timeout_s = kafka.transaction_timeout_ms / 1000
    return Doctor(kafka.base(), TopicNames(settings.prefix), client, mirror, timeout_s, settings.redis.url)


def repartition_of(
    settings: Settings, told: Callable[[str], None], progress: Callable[[int, int], None]
) -> Repartition:
    """What moves contacts to a larger number of partitions. Connects when it is asked."""
    from stagepost.edges.repartition import Repartition

    mirror = RedisMirror(connect(settings.redis.url), MirrorKeys.of(settings.prefix, "journey"), settings.engine.piece)
    return Repartition(kafka_settings(settings), settings.prefix, mirror, told, progress)


def kafka_settings(settings: Settings) -> KafkaSettings:
    """How the runner reaches the broker; the times of group and transactions may be set among the raw keys."""
    raw = dict(settings.kafka.librdkafka)
    times: dict[str, Any] = {field: int(raw.pop(key)) for key, field in _TIMES.items() if key in raw}
    return replace(KafkaSettings(settings.kafka.bootstrap_servers, raw), **times)


def read_journeys(settings: Settings) -> list[Journey]:
    """The journeys of the folder; an empty one is a normal state. Raises SettingsError naming every problem."""
    folder = settings.journeys
    if not folder.is_dir():
        raise SettingsError(f"journeys: {folder} is no folder; make it, or say where they are with --journeys DIR")
    parsed = [
        parse_bytes(file.read_bytes(), str(file))
        for file in sorted(folder.iterdir())
        if file.suffix in (".yaml", ".yml")
    ]
    journeys = [result.journey for result in parsed if result.journey is not None]
    problems = [str(problem) for result in parsed for problem in result.problems if problem.is_error]
    twice = {journey.name for journey in journeys if sum(j.name == journey.name for j in journeys) > 1}
    problems += [f"{folder}: journey {name!r} is defined in two files" for name in sorted(twice)]
    if problems:
        raise SettingsError(*problems)
    return journeys


def account_configs(settings: Settings) -> dict[str, AccountConfig]:
    """The settings of each account, as the normaliser takes them. Raises SettingsError for a secret that fits nothing:
    all posts would be refused."""
    problems = [
        f"accounts.{name}.secrets: one {why}; known ways to sign: stagepost convert --help"
        for name, account in settings.accounts.items()
        for secret in account.secrets
        if (why := never_fits(account.provider or "", secret.get_secret_value())) is not None
    ]
    if problems:
        raise SettingsError(*problems)
    return {
        name: AccountConfig(
            provider=account.provider,
            secrets=tuple(secret.get_secret_value() for secret in account.secrets),
            signature=account.signature,
            contact_keys=account.contact_keys,
            campaign_keys=account.campaign_keys,
            campaign_from=account.campaign_from,
            sending_domain=account.sending_domain,
            variants=account.variants,
            topics=account.topics,
            metadata_headers=account.metadata_headers,
            tag_headers=account.tag_headers,
        )
        for name, account in settings.accounts.items()
    }


def limits_of(settings: Settings) -> Limits:
    """How much of a post is read, as the normaliser takes it."""
    return Limits(**settings.limits.model_dump())


def _processor(role: str, settings: Settings, group: str, log: KafkaLog) -> Stateless | Stateful:
    if role == "normalise":
        return NormaliseProcessor(
            account_configs(settings),
            settings.tenant_key(),
            settings.prefix,
            group,
            certificates=Certificates().pem,
            limits=limits_of(settings),
        )
    program = compile_program(read_journeys(settings)) if role == "journey" else None
    partitions = log.partitions([*_INPUTS[role], *OUTPUTS[role]])
    if program is None:
        return RollupProcessor(event_partitions=partitions[Topic.EVENTS], prefix=settings.prefix, group=group)
    return JourneyProcessor(
        program=program,
        tally_partitions=partitions[Topic.TALLIES],
        cache_contacts=settings.engine.cache_contacts,
        prefix=settings.prefix,
        group=group,
    )
