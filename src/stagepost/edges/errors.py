"""What the loop does next, as exception types, and the one table which Kafka or Redis error is which (delivery.md 3).

An error that is not in the table is raised as it came: it ends the process, with offsets untouched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import redis
from confluent_kafka import KafkaError, KafkaException

from stagepost.settings import mask_url


class EdgeError(Exception):
    """Base of everything here; the message names the place, and the fix where a person has to act."""


class SlowDown(EdgeError):
    """Keep what is in hand, poll, try later."""


class MirrorUnavailable(SlowDown):
    """Redis cannot be reached, is loading, full or read-only. Its content says nothing about this."""


class Unstable(SlowDown):
    """The committed offset hides behind an undecided transaction: ask again."""


class Retry(EdgeError):
    """The same call again, within a budget."""


class Abort(EdgeError):
    """Abort the transaction and run the batch again."""


class Unfit(Abort):
    """The broker refuses a record for what it is: no repetition helps."""

    def __init__(self, message: str, *, too_large: bool) -> None:
        super().__init__(message)
        self.too_large = too_large


class Refused(EdgeError):
    """A batch was aborted each time: try it in smaller ones. The cause is the last Abort."""


class NewProducer(EdgeError):
    """This producer must never be used again; what became of its transaction is read from the committed offsets."""


class Fenced(NewProducer):
    """Another producer with our transactional id was started."""


class Drop(EdgeError):
    """No longer the owner: drop the batch and what was cached for it."""


class Stop(EdgeError):
    """End the process; no offset was moved."""


class MissingTopics(Stop):
    """Topics that the role needs are not there. Workers never create topics."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(names))
        super().__init__(f"missing topics: {', '.join(self.names)}; make them with: stagepost topics create")


class PartitionsChanged(Stop):
    """The partition count is not the one that the state was written for."""


class Outdated(Stop):
    """What lies there, or runs there, is of another version than this one can work with."""


class OffsetMoved(Stop):
    """The committed offset is not where the state ends: somebody moved it."""


class RecordsGone(Stop):
    """The input no longer holds the record to read next."""


class RestoreStuck(Stop):
    """The state topic cannot be read to its end, because a transaction on it stays open."""


Codes = frozenset[int]

GROUP: Codes = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)
"""Said by the group coordinator when offsets are sent: the partition has, or may have, another owner."""

FENCED: Codes = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
"""A newer producer has our transactional id."""

TOO_LARGE: Codes = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
"""Larger than the topic takes, or than the client sends."""

UNFIT: Codes = TOO_LARGE | {KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD}
"""Said of records for what is in them."""

REFUSED: Codes = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
"""Only a person can mend these: rights, certificates, versions, settings, deleted topics."""

PASSING: Codes = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._QUEUE_FULL,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._WAIT_COORD,
        KafkaError._IN_PROGRESS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.OFFSET_NOT_AVAILABLE,
        # Leadership moved, or the same broker took it again after a restart: the client asks anew.
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError._NODE_UPDATE,
        KafkaError._NOENT,  # "No leaders found", while a restarted broker takes its partitions up again
        KafkaError._RESOLVE,
        KafkaError._RETRY,
        KafkaError._OUTDATED,
    }
)
"""Over in a moment, or at the latest when the broker is back."""


def of_kafka(error: KafkaError, doing: str) -> EdgeError | None:
    """What the loop does about ``error`` while ``doing``; None when it is none of the known ones.

    The order matters: a group error also asks for an abort, and a fenced producer is also fatal.
    """
    text = f"{doing}: {error.name()}: {error.str()}"
    code = error.code()
    if code in REFUSED:
        return Stop(text)
    if code in GROUP:
        return Drop(text)
    if code in FENCED:
        return Fenced(text)
    if error.fatal() or code == KafkaError._FATAL:
        return NewProducer(text)
    if error.txn_requires_abort():
        return Unfit(text, too_large=code in TOO_LARGE) if code in UNFIT else Abort(text)
    if code == KafkaError.UNSTABLE_OFFSET_COMMIT:
        return Unstable(text)
    if error.retriable() or code in PASSING:
        return Retry(text)
    return None


_REDIS_PASSING = re.compile(
    r"(?<![A-Za-z])(LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|READONLY|OOM|MISCONF|NOREPLICAS|BUSY|UNKILLABLE)(?![A-Za-z])"
)
"""Error codes of a server that cannot serve now but may later. Not only at the beginning of the text: before Redis 7
an error inside a script has the script's place in front."""


_REDIS_ADDRESS = ("NOAUTH", "DB index is out of range", "SELECT is not allowed in cluster mode")
"""Answers to what the URL of Redis says, beside those that redis-py has a class for."""


def of_redis(error: redis.RedisError, doing: str) -> EdgeError | None:
    """As ``of_kafka``. Whether a write happened before a connection broke is no matter: writes are compare-and-set."""
    text = f"{doing}: {type(error).__name__}: {error}"
    refused = isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError)
    if refused or str(error).startswith(_REDIS_ADDRESS):
        return Stop(f"{text} (setting redis.url)")
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return MirrorUnavailable(text)
    if isinstance(error, redis.OutOfMemoryError | redis.ReadOnlyError | redis.exceptions.MasterDownError):
        return MirrorUnavailable(text)
    if _REDIS_PASSING.search(str(error)):
        return MirrorUnavailable(text)
    return None


def in_words(error: BaseException, servers: str, url: str) -> str | None:
    """What every verb and role says of a server that does not answer, or refuses; None: ``error`` is about neither.

    ``servers``: of Kafka. ``url``: of Redis.
    """
    cause = error.__cause__ if isinstance(error, EdgeError) else error
    if isinstance(cause, KafkaException):
        told = cause.args[0]
        if told.code() in PASSING:
            return _away("Kafka", servers, told.str(), "kafka.bootstrap_servers, --kafka")
        return None if isinstance(error, EdgeError) else f"Kafka at {servers}: {told.str()}"
    if isinstance(cause, redis.AuthenticationError):
        return f"Redis at {mask_url(url)} refuses what its address says: {cause} (setting redis.url, --redis)"
    if isinstance(cause, redis.ConnectionError | redis.TimeoutError | OSError):
        return _away("Redis", mask_url(url), str(cause).rstrip("."), "redis.url, --redis")
    return f"Redis at {mask_url(url)}: {cause}" if isinstance(error, redis.RedisError) else None


def _away(what: str, address: str, why: str, named: str) -> str:
    return f"{what} at {address} does not answer: {why}. Does it run, and is that its address (setting {named})?"
