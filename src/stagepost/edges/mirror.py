"""The mirror in Redis: validated reads, compare-and-set writes, one Lua call each (delivery.md 1 to 3).

The law: a partition shows the fold of its state topic up to the batch in its checkpoint, or says ``partial``. Nothing
here fences by owner or epoch, since those would roll back together with the data; the chain of batch numbers does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from itertools import islice
from typing import Any, TypeVar

import redis
from msgspec import structs
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from stagepost.edges.errors import MirrorUnavailable, Outdated, of_redis
from stagepost.edges.keys import BUCKETS, MirrorKeys, bucket_of
from stagepost.edges.ports import ALONE, Checkpoint, Keys, Mirror, Outcome, Part, Snapshot, StateChange, Timers, Told
from stagepost.engine.attempts import Attempt
from stagepost.engine.story import STORY

_SLOTS_AT_ONCE = 512
"""Buckets looked into by one listing: below a millisecond where they are empty."""

_OLDEST = {"redis": (6, 2), "valkey": (7, 2)}
"""By the name that a server gives itself; another one (a stand-in) is taken at its word that it is one of these."""

_NEEDED = "stagepost needs Redis 6.2, or Valkey 7.2, or later (setting redis.url)"

_T = TypeVar("_T")


def connect(url: str, timeout_s: float = 2.0) -> redis.Redis:
    """A client for the hot path: redis-py's ten retries of 8.x would run a call twice and take seconds.

    RESP 2, because nothing newer than Redis 6.2 may be needed.
    """
    return redis.Redis.from_url(
        url,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


class RedisMirror:
    """``ports.Mirror`` on Redis 6.2 or later. May be used by several threads."""

    def __init__(self, client: redis.Redis, keys: MirrorKeys, piece: int = 500) -> None:
        """``piece`` states cost up to 5 ms of Redis' one thread; a partition's share of a batch is seldom more."""
        self.piece = piece
        self._client = client
        self._keys = keys
        self._apply = _registered(client, "apply.lua")
        self._read = _script(client, "read.lua")
        self._wipe = _script(client, "wipe.lua")
        self._list = _script(client, "keys.lua")
        self._due = _script(client, "due.lua")
        self._tell = _script(client, "story.lua")
        self._end_attempt = _script(client, "attempt.lua")
        self._retell = _script(client, "retell.lua")
        self._checked = False

    def check(self) -> None:
        if self._checked:
            return
        with _routed("asking for the version of Redis"):
            try:
                # Unlike INFO it is allowed to every user, and known since Redis 6.
                answer: Any = self._client.execute_command("HELLO")  # type: ignore[no-untyped-call]
            except redis.ResponseError as error:
                if "unknown command" not in str(error).lower():
                    raise
                raise Outdated(f"this Redis is older than 6.0; {_NEEDED}") from error
        told = dict(zip(answer[::2], answer[1::2], strict=False))
        why = too_old(told.get(b"server", b"").decode(), told.get(b"version", b"").decode())
        if why is not None:
            raise Outdated(why)
        self._checked = True

    def checkpoint(self, partition: int) -> Checkpoint | None:
        with _routed("reading how far the mirror is"):
            fields: Mapping[bytes, bytes] = self._client.hgetall(self._keys.checkpoint(partition))  # type: ignore[assignment]
        return _decode(fields) if fields else None

    def read(self, partition: int, keys: Sequence[str]) -> Snapshot | None:
        args: list[Any] = [self._keys.buckets(partition)]
        for key in keys:
            args += (bucket_of(key), key)
        with _routed("reading states from the mirror"):
            answer = self._read([self._keys.checkpoint(partition)], args)
        if not answer:
            return None
        values = dict(zip(keys, answer[3:], strict=True))
        return Snapshot(int(answer[0]), answer[1].decode(), answer[2] == b"1", values)

    @property
    def slots(self) -> int:
        return BUCKETS

    def keys(self, partition: int, slot: int, enough: int) -> Keys | None:
        end = min(slot + _SLOTS_AT_ONCE, BUCKETS)
        with _routed("listing states of the mirror"):
            answer = self._list([self._keys.checkpoint(partition)], [self._keys.buckets(partition), slot, end, enough])
        if not answer:
            return None
        seq, nonce, then, *keys = answer
        found = tuple(key.decode() for key in keys)
        return Keys(int(seq), nonce.decode(), found, int(then) if int(then) < BUCKETS else None)

    def apply(
        self, partition: int, expected: int, changes: Sequence[StateChange], then: Checkpoint, part: Part = ALONE
    ) -> Outcome:
        keys, args = self._call(partition, expected, changes, then, part)
        with _routed("writing states to the mirror"):
            answer = self._apply(keys, args)
        return Outcome(answer.decode())

    def apply_in_turn(
        self, partition: int, expected: int, chunks: Iterable[tuple[Sequence[StateChange], Checkpoint, Part]]
    ) -> Sequence[Outcome]:
        """``apply`` for each of ``chunks``, which are taken, made ready and sent while Redis works on the one before.

        Twice as fast where there are many: client and server take about as long. Each call checks for itself, so one
        that was sent behind a refused one is refused too.
        """
        chunks = iter(chunks)
        outcomes = [self.apply(partition, expected, *chunk) for chunk in islice(chunks, 1)]  # loads the script too
        pool = self._client.connection_pool
        with _routed("writing states to the mirror"):
            connection, waiting = pool.get_connection(), 0
            try:
                for chunk in chunks:
                    keys, args = self._call(partition, expected, *chunk)
                    connection.send_command("EVALSHA", self._apply.sha, len(keys), *keys, *args)  # type: ignore[no-untyped-call]
                    waiting += 1
                    if waiting == 2:
                        outcomes.append(Outcome(connection.read_response().decode()))
                        waiting -= 1
                if waiting:
                    outcomes.append(Outcome(connection.read_response().decode()))
                    waiting -= 1
            except redis.exceptions.NoScriptError as error:
                raise MirrorUnavailable(
                    "writing states to the mirror: Redis forgot its scripts, it restarted"
                ) from error
            finally:
                if waiting:  # an answer that nobody waits for must not become that of the next call
                    connection.disconnect()  # type: ignore[no-untyped-call]
                pool.release(connection)
        return outcomes

    def _call(
        self, partition: int, expected: int, changes: Sequence[StateChange], then: Checkpoint, part: Part
    ) -> tuple[list[str], list[Any]]:
        """Keys and arguments of ``apply.lua``."""
        fields = _encode(then)
        args: list[Any] = [expected, then.nonce, then.seq, part.application, part.number, part.begun_on]
        args += (self._keys.buckets(partition), len(fields), *fields)
        for key, value, due in changes:
            args += (bucket_of(key), key, value or b"", "" if due is None or value is None else due)
        return [self._keys.checkpoint(partition), self._keys.timers(partition)], args

    def wipe(self, partition: int, fresh: Checkpoint) -> None:
        args = [self._keys.buckets(partition), BUCKETS, *_encode(fresh)]
        with _routed("emptying the mirror"):
            self._wipe([self._keys.checkpoint(partition), self._keys.timers(partition)], args)

    def timers(self, partition: int, after: int, enough: int) -> Timers | None:
        with _routed("reading timers from the mirror"):
            answer = self._due([self._keys.checkpoint(partition), self._keys.timers(partition)], [after, enough])
        if not answer:
            return None
        seq, nonce, partial, until, *found = answer
        due = {key.decode(): int(at) for key, at in zip(found[::2], found[1::2], strict=True)}
        return Timers(int(seq), nonce.decode(), partial == b"1", due, int(until) if until else None)

    def states(self, partition: int) -> Mapping[str, bytes]:
        prefix = self._keys.buckets(partition)
        found: dict[str, bytes] = {}
        for start in range(0, BUCKETS, 256):
            pipeline = self._client.pipeline(transaction=False)
            for bucket in range(start, start + 256):
                pipeline.hgetall(f"{prefix}{bucket}")
            with _routed("reading all states from the mirror"):
                answers: list[Mapping[bytes, bytes]] = pipeline.execute()
            for answer in answers:
                found.update((key.decode(), value) for key, value in answer.items())
        return found

    def attempt(self, partition: int) -> Attempt | None:
        with _routed("reading which batch was begun"):
            fields: Mapping[bytes, bytes] = self._client.hgetall(self._keys.attempt(partition))  # type: ignore[assignment]
        try:
            return Attempt(**{name: int(fields[name.encode()]) for name in Attempt.__struct_fields__})
        except (KeyError, ValueError):
            return None

    def begin_attempt(self, partition: int, attempt: Attempt, writer: str) -> None:
        with _routed("writing which batch is begun"):
            fields: dict[Any, Any] = {**structs.asdict(attempt), "writer": writer}
            self._client.hset(self._keys.attempt(partition), mapping=fields)

    def end_attempt(self, partition: int, writer: str) -> None:
        with _routed("removing which batch was begun"):
            self._end_attempt([self._keys.attempt(partition)], [writer])

    def tell(self, partition: int, told: Sequence[Told]) -> None:
        # The checkpoint's key stands for the partition's slot in a cluster.
        keys, args = [self._keys.checkpoint(partition)], [self._keys.stories(partition), STORY]
        for start in range(0, len(told), self.piece):
            with _routed("telling the moves of contacts"):
                self._tell(keys, args + [each for pair in told[start : start + self.piece] for each in pair])

    def story(self, partition: int, contact: str) -> Sequence[bytes]:
        with _routed("reading the moves of a contact"):
            found: list[bytes] = self._client.lrange(self._keys.stories(partition) + contact, 0, -1)  # type: ignore[assignment]
        return found

    def retell(self, partition: int, nonce: str, told: Sequence[Told], mark: bytes) -> bool:
        keys = [self._keys.checkpoint(partition), self._keys.retold(partition)]
        pieces = [told[start : start + self.piece] for start in range(0, len(told), self.piece)] or [()]
        for number, piece in enumerate(pieces, start=1):
            # The mark comes last: a piece that failed is told again.
            args: list[Any] = [nonce, mark if number == len(pieces) else b"", self._keys.stories(partition), STORY]
            with _routed("telling the moves of contacts again"):
                if not self._retell(keys, args + [each for pair in piece for each in pair]):
                    return False
        return True

    def retold(self, partition: int) -> bytes | None:
        with _routed("asking which moves were told again"):
            found: bytes | None = self._client.get(self._keys.retold(partition))  # type: ignore[assignment]
        return found

    def close(self) -> None:
        self._client.close()


def too_old(server: str, version: str) -> str | None:
    """Why a server cannot serve; None when it can, or when its version cannot be read.

    >>> too_old("redis", "6.0.20")
    'this is redis 6.0.20; stagepost needs Redis 6.2, or Valkey 7.2, or later (setting redis.url)'
    >>> too_old("redis", "6.2.14"), too_old("valkey", "8.0.1"), too_old("fakeredis", "2.40.0")
    (None, None, None)
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) >= _OLDEST.get(server, (0, 0)):
        return None
    return f"this is {server} {version}; {_NEEDED}"


def apply_in_chunks(
    mirror: Mirror,
    partition: int,
    expected: Checkpoint,
    changes: Sequence[StateChange],
    then: Checkpoint,
    application: str,
) -> Outcome:
    """Apply a batch of any size: all calls but the last leave ``expected`` in place and mark it ``partial``.

    ``application``: what no other batch, and nobody else who applies this one, calls it. Values are absolute, so
    running it again after a failure in the middle is right.
    """
    piece = mirror.piece
    last = max(0, (len(changes) - 1) // piece * piece)

    def part(start: int) -> Part:
        return Part(application, start // piece, expected.step)

    def unfinished(start: int) -> Checkpoint:
        return structs.replace(expected, partial=True, step=part(start).step)

    if last and isinstance(mirror, RedisMirror):
        chunks = (
            (changes[start : start + piece], then if start == last else unfinished(start), part(start))
            for start in range(0, last + 1, piece)
        )
        outcomes = mirror.apply_in_turn(partition, expected.seq, chunks)
        refused = next((outcome for outcome in outcomes if outcome is not Outcome.OK), Outcome.OK)
        return outcomes[-1] if refused is Outcome.ALREADY else refused
    for start in range(0, last, piece):
        outcome = mirror.apply(partition, expected.seq, changes[start : start + piece], unfinished(start), part(start))
        # A batch that was there before the first call is ALREADY there: its number then is larger than the expected.
        if outcome is not Outcome.OK:
            return mirror.apply(partition, expected.seq, (), then, part(0)) if outcome is Outcome.ALREADY else outcome
    return mirror.apply(partition, expected.seq, changes[last:], then, part(last))


def _registered(client: redis.Redis, name: str) -> Script:
    return client.register_script(files("stagepost.edges").joinpath("lua", name).read_text())


def _script(client: redis.Redis, name: str) -> Callable[[Sequence[Any], Sequence[Any]], Any]:
    script = _registered(client, name)
    return lambda keys, args: script(keys=keys, args=args)


@contextmanager
def _routed(doing: str) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        routed = of_redis(error, doing)
        if routed is None:
            raise
        raise routed from error
    except OSError as error:
        raise MirrorUnavailable(f"{doing}: {error}") from error


def _encode(checkpoint: Checkpoint) -> list[Any]:
    """Field and value in turn. Every field is always written, so none of an older checkpoint stays."""
    fields: list[Any] = []
    for name in checkpoint.__struct_fields__:
        value = getattr(checkpoint, name)
        fields += (name, int(value) if isinstance(value, bool) else value)
    return fields


def _decode(fields: Mapping[bytes, bytes]) -> Checkpoint | None:
    """None for a hash that is no checkpoint of ours: then there is nothing to go on from."""
    try:
        return Checkpoint(
            seq=int(fields[b"seq"]),
            coff=int(fields[b"coff"]),
            in_off=int(fields[b"in_off"]),
            topic_id=fields[b"topic_id"].decode(),
            nonce=fields[b"nonce"].decode(),
            asof=int(fields[b"asof"]),
            codec=int(fields[b"codec"]),
            proto=int(fields[b"proto"]),
            partitions=int(fields[b"partitions"]),
            control=fields[b"control"],
            partial=fields[b"partial"] == b"1",
            step=fields.get(b"step", b"").decode(),
        )
    except (KeyError, ValueError):
        return None
