from __future__ import annotations

import pytest
import redis
from confluent_kafka import KafkaError, KafkaException

from stagepost.edges.errors import (
    Abort,
    Drop,
    EdgeError,
    Fenced,
    MirrorUnavailable,
    NewProducer,
    Retry,
    Stop,
    Unfit,
    Unstable,
    in_words,
    of_kafka,
    of_redis,
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KafkaError(KafkaError.ILLEGAL_GENERATION, "x", False, False, True), Drop),
        (KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "x", False, False, True), Drop),
        (KafkaError(KafkaError._FENCED, "x", True, False, False), Fenced),
        (KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "x", False, False, True), Fenced),
        (KafkaError(KafkaError._FATAL), NewProducer),
        (KafkaError(KafkaError._INCONSISTENT, "x", True, False, False), NewProducer),
        (KafkaError(KafkaError._TIMED_OUT, "x", False, False, True), Abort),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "x", False, False, True), Unfit),
        (KafkaError(KafkaError.INVALID_RECORD, "x", False, False, True), Unfit),
        (KafkaError(KafkaError._TIMED_OUT, "x", False, True, False), Retry),
        (KafkaError(KafkaError._TRANSPORT), Retry),
        (KafkaError(KafkaError.FENCED_LEADER_EPOCH), Retry),
        (KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT), Unstable),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "x", False, False, True), Stop),
        (KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "x", True, False, False), Stop),
    ],
)
def test_a_kafka_error_is_what_the_loop_does_next(error: KafkaError, expected: type[EdgeError]) -> None:
    routed = of_kafka(error, "committing")
    assert type(routed) is expected
    assert str(routed).startswith(f"committing: {error.name()}")


def test_an_error_that_nobody_foresaw_is_not_swallowed() -> None:
    assert of_kafka(KafkaError(KafkaError._BAD_MSG), "consuming") is None
    assert of_redis(redis.ResponseError("WRONGTYPE Operation against a key"), "reading") is None


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("refused"),
        redis.TimeoutError("slow"),
        redis.BusyLoadingError("LOADING"),
        redis.ReadOnlyError("a replica"),
        redis.OutOfMemoryError("full"),
        redis.ResponseError("CLUSTERDOWN The cluster is down"),
        redis.ResponseError("Error running script (call to f_ab): @user_script:20: -OOM command not allowed"),
        redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    ],
)
def test_a_redis_that_cannot_serve_now_is_waited_for(error: redis.RedisError) -> None:
    assert type(of_redis(error, "writing")) is MirrorUnavailable


@pytest.mark.parametrize(
    "error",
    [
        redis.AuthenticationError("WRONGPASS"),
        redis.exceptions.NoPermissionError("NOPERM"),
        redis.ResponseError("DB index is out of range"),
    ],
)
def test_a_redis_that_refuses_us_ends_the_process(error: redis.RedisError) -> None:
    routed = of_redis(error, "writing")
    assert type(routed) is Stop
    assert str(routed).endswith("(setting redis.url)")


def caused(error: EdgeError, cause: Exception) -> EdgeError:
    error.__cause__ = cause
    return error


TIMED_OUT = KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out"))
UNKNOWN_LOGIN = redis.AuthenticationError("invalid username-password pair")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TIMED_OUT, "Kafka at k:9092 does not answer: timed out. "),
        (caused(Unstable("listing"), TIMED_OUT), "Kafka at k:9092 does not answer: timed out. "),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied")), "Kafka at k:9092: denied"),
        (redis.ConnectionError("refused."), "Redis at redis://:**********@r/0 does not answer: refused. "),
        (
            caused(MirrorUnavailable("reading"), redis.TimeoutError("timed out")),
            "Redis at redis://:**********@r/0 does",
        ),
        (UNKNOWN_LOGIN, "Redis at redis://:**********@r/0 refuses what its address says: invalid username"),
        (caused(MirrorUnavailable("writing"), redis.OutOfMemoryError("OOM")), None),
        (Stop("the batch is broken"), None),
    ],
)
def test_a_server_that_does_not_answer_is_told_in_one_wording_without_its_password(
    error: Exception, said: str | None
) -> None:
    told = in_words(error, "k:9092", "redis://:secret@r/0")
    assert told is None if said is None else (told or "").startswith(said)
