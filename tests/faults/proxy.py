"""TCP proxies before the broker and before Redis: latency, one-way silence, resets, cuts, held ends of transactions.

A proxy runs an event loop in a thread of its own; its methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_servers import HOST, free_ports
from stagepost.edges.processes import ProcessGroup

TO_SERVER = "to_server"
TO_CLIENT = "to_client"

_CHUNK = 1 << 16
_ADD_OFFSETS_TO_TXN = 25
_END_TXN = 26


@dataclass(eq=False)
class _Link:
    """One connection of a client, and ours to the server for it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: what the server says is kept back."""

    def reset(self) -> None:
        """Both ends see a reset, not an orderly end."""
        for writer in (self.client, self.server):
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Passes bytes on to a port of this machine. ``server_port`` may change place while nobody listens there."""

    def __init__(self, server_port: int, port: int = 0) -> None:
        self.latency_s = 0.0
        """Added to each chunk in each direction."""
        self._server_port = server_port
        self._links: set[_Link] = set()
        self._cut_after: int | None = None
        self._loop = asyncio.new_event_loop()
        self._open: dict[str, asyncio.Event] = {TO_SERVER: asyncio.Event(), TO_CLIENT: asyncio.Event()}
        for gate in self._open.values():
            gate.set()
        self._listening = self._loop.run_until_complete(asyncio.start_server(self._serve, HOST, port))
        self.port: int = self._listening.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy")
        self._thread.start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def silence(self, direction: str) -> None:
        """Nothing passes in this direction until ``heal``. What is sent meanwhile comes then, as it does with TCP."""
        self._loop.call_soon_threadsafe(self._open[direction].clear)

    def heal(self) -> None:
        """No latency, no silence."""
        self.latency_s = 0.0
        for gate in self._open.values():
            self._loop.call_soon_threadsafe(gate.set)

    def reset(self) -> None:
        """Every connection is reset."""
        self._loop.call_soon_threadsafe(self._reset_all)

    def strand(self) -> None:
        """Connections that exist now hear nothing any more; new ones do."""
        self._loop.call_soon_threadsafe(self._strand_all)

    def cut_after(self, count: int) -> None:
        """The connection that carries the ``count``-th byte to a client from now on is reset in the middle of it."""
        self._cut_after = count

    def close(self) -> None:
        async def end() -> None:
            self._listening.close()
            self._reset_all()
            serving = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)
        self._thread.join(5)

    def _reset_all(self) -> None:
        for link in list(self._links):
            link.reset()

    def _strand_all(self) -> None:
        for link in self._links:
            link.answers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(HOST, self._server_port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server_writer)
        link.answers.set()
        self._links.add(link)
        try:
            await asyncio.gather(self._requests(reader, link), self._answers(server_reader, link))
        except (OSError, EOFError, asyncio.CancelledError):
            link.reset()
        finally:
            self._links.discard(link)

    async def _requests(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._pass(chunk, link.server, TO_SERVER)
        link.server.close()

    async def _answers(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while chunk := await reader.read(_CHUNK):
            await link.answers.wait()
            if self._cut_after is not None:
                if self._cut_after < len(chunk):
                    link.client.write(chunk[: self._cut_after])
                    self._cut_after = None
                    link.reset()
                    return
                self._cut_after -= len(chunk)
            await self._pass(chunk, link.client, TO_CLIENT)
        link.client.close()

    async def _pass(self, chunk: bytes, writer: asyncio.StreamWriter, direction: str) -> None:
        await self._open[direction].wait()
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        writer.write(chunk)
        await writer.drain()


@dataclass(frozen=True)
class Late:
    """A held EndTxn that was let go into a later transaction, and the broker's error code for it; 0: it took effect."""

    transactional_id: str
    error: int


@dataclass
class _Held:
    frame: bytes
    then: Callable[[], None]


@dataclass
class _Ambush:
    """At the next EndTxn of this transactional id."""

    then: Callable[[], None]
    answer_after_s: float | None
    """None: the connection is reset once the broker has the request."""


class KafkaProxy(Proxy):
    """Knows the frames of Kafka's protocol, and in them the requests that end a transaction."""

    def __init__(self, server_port: int, port: int = 0) -> None:
        super().__init__(server_port, port)
        self.late: list[Late] = []
        self.ends = 0
        """EndTxn requests seen."""
        self._to_hold: dict[bytes, Callable[[], None]] = {}
        self._held: dict[bytes, _Held] = {}
        self._ambushes: dict[bytes, _Ambush] = {}

    def hold_next_end(self, transactional_id: str, then: Callable[[], None]) -> None:
        """Keep its next EndTxn back and cut the connection, so that the client sends it again. The copy kept here is
        let go when a later transaction of the same id has its records, and is about to add offsets; ``then`` is called
        before these may go on: who dies at this moment leaves half a transaction, if the late copy took effect."""
        self._to_hold[transactional_id.encode()] = then

    def at_end_of(self, transactional_id: str, then: Callable[[], None], answer_after_s: float | None) -> None:
        """Once: pass the next EndTxn of this id on, call ``then``, and keep the answer back for so long."""
        self._ambushes[transactional_id.encode()] = _Ambush(then, answer_after_s)

    async def _requests(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while True:
            try:
                size = await reader.readexactly(4)
                body = await reader.readexactly(int.from_bytes(size))
            except asyncio.IncompleteReadError:
                link.server.close()
                return
            key = int.from_bytes(body[:2])
            if key == _END_TXN:
                self.ends += 1
                who = _transactional_id(body)
                if who in self._to_hold:
                    self._held[who] = _Held(size + body, self._to_hold.pop(who))
                    link.reset()
                    return
                ambush = self._ambushes.pop(who, None)
                if ambush is not None:
                    await self._spring(ambush, size + body, link)
                    continue
            if key == _ADD_OFFSETS_TO_TXN and self._held:
                who = _transactional_id(body)
                if who in self._held:
                    await self._let_go(who)
            await self._pass(size + body, link.server, TO_SERVER)

    async def _spring(self, ambush: _Ambush, frame: bytes, link: _Link) -> None:
        link.answers.clear()
        await self._pass(frame, link.server, TO_SERVER)
        await asyncio.sleep(0.02)  # for the broker to have read it, and often to have answered
        ambush.then()
        if ambush.answer_after_s is None:
            link.reset()
        else:
            self._loop.call_later(ambush.answer_after_s, link.answers.set)

    async def _let_go(self, who: bytes) -> None:
        """Over a connection of its own, as a packet that was under way for long; waits for what the broker says."""
        held = self._held.pop(who)
        frame = held.frame
        reader, writer = await asyncio.open_connection(HOST, self._server_port)
        writer.write(frame)
        answer = await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
        writer.close()
        # Correlation id, from version 3 on an empty tag section, throttle time, error code.
        error = int.from_bytes(answer[8:10] if int.from_bytes(frame[6:8]) < 3 else answer[9:11], signed=True)
        self.late.append(Late(who.decode(), error))
        held.then()


def proxied_kafka(group: ProcessGroup) -> tuple[LocalKafka, KafkaProxy]:
    """A broker of its own with a second listener, at which it names the proxy before that as its address."""
    [behind] = free_ports(1)
    proxy = KafkaProxy(behind)
    return LocalKafka(group, listeners(behind, proxy)), proxy


def listeners(behind: int, proxy: KafkaProxy, controller: int | str = "{controller}") -> dict[str, str]:
    """Properties of a broker that listens at ``behind`` too, and names the proxy as its address there."""
    return {
        "listeners": f"PLAINTEXT://{HOST}:{{port}},PROXIED://{HOST}:{behind},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{{port}},PROXIED://{proxy.address}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
    }


def _transactional_id(body: bytes) -> bytes:
    """Of a request that begins with one: behind api key, version, correlation id and client id.

    >>> _transactional_id(bytes([0, 26, 0, 1, 0, 0, 0, 7, 0, 1]) + b"c" + bytes([0, 2]) + b"id")
    b'id'
    >>> _transactional_id(bytes([0, 26, 0, 3, 0, 0, 0, 7, 0, 1]) + b"c" + bytes([0, 3]) + b"id")
    b'id'
    """
    flexible = int.from_bytes(body[2:4]) >= 3
    place = 10 + max(0, int.from_bytes(body[8:10], signed=True))
    if flexible:  # tags, then a length plus one; below 128 it is one byte
        length = body[place + 1] - 1
        return body[place + 2 : place + 2 + length]
    length = int.from_bytes(body[place : place + 2])
    return body[place + 2 : place + 2 + length]
