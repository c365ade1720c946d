"""The reference bridge: ``POST /webhooks/{provider}/{account}`` to ``email.raw``, answered once the cluster has it.

Its law: 2xx means that every replica in sync has the body, byte for byte. Everything else is an answer that makes the
provider send again, where it ever does (``normalise/webhooks.py``). A post is read no further than its signature.
May not contain: what a provider's body means; that is the normaliser's.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from stagepost.edges import health, sns
from stagepost.edges.confirmed import ConfirmedProducer, NotConfirmed
from stagepost.edges.logs import logger
from stagepost.edges.metrics import Metrics
from stagepost.edges.roles import Status
from stagepost.edges.sns import CertificateUnavailable
from stagepost.engine.plan import Emit, Headers, Topic
from stagepost.events import Reason, rfc3339
from stagepost.normalise import (
    PROVIDERS,
    AccountConfig,
    Limits,
    Post,
    account_of,
    canonical_name,
    certified,
    is_open_to,
    normalise,
    refusal,
    verified,
)
from stagepost.normalise.limits import LIMITS
from stagepost.normalise.webhooks import (
    Answers,
    TokenMemory,
    answers_of,
    challenge,
    firehose_answer,
    worth_keeping,
)

BODY_S = 30.0
"""For a body to arrive: ten times what the slowest provider takes."""

STOP_S = 15.0
"""For posts that are being answered when the bridge ends: longer than any waits for the cluster."""

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_WAIT_S = "30"
"""``Retry-After``; most providers have their own schedule."""


STRANGERS_TOLD = 100
"""Accounts that are not configured and were logged; who invents more of them fills no log."""


class Bridge:
    """``roles.Role``: serves in a thread of its own until ``stop``. Binds its port when made; raises OSError."""

    def __init__(
        self,
        address: tuple[str, int],
        accounts: Mapping[str, AccountConfig],
        producer: ConfirmedProducer,
        metrics: Metrics,
        public_url: str = "",
        limits: Limits = LIMITS,
        certificates: Callable[[str], str | None] | None = None,
        confirm: Callable[[str], bool] = sns.confirm,
    ) -> None:
        """``public_url``: what stands before ``/webhooks`` where providers call it, if a proxy hides that; some sign
        the URL. ``certificates``, ``confirm``: the two calls to Amazon."""
        self._accounts = accounts
        self._producer = producer
        self._metrics = metrics
        self._public_url = public_url.rstrip("/")
        self._limits = limits
        self._certificates = certificates or sns.Certificates().pem
        self._confirm = confirm
        self._amazon = ThreadPoolExecutor(1, "amazon")
        self._tokens = TokenMemory()
        self._strangers: set[tuple[str, str]] = set()
        self._stopping = threading.Event()
        self._log = logger("stagepost.bridge", role="bridge")
        self._socket = socket.create_server(address)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app(),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=int(STOP_S),
            )
        )

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def status(self) -> Status:
        reasons: tuple[str, ...] = ()
        if self._stopping.is_set():
            reasons = ("stopping",)
        elif not self._producer.alive():
            reasons = ("Kafka does not answer",)
        return Status(time.monotonic(), STOP_S, reasons)

    def run(self) -> None:
        """Serve until ``stop``; then answer what has begun, and wait for what is on its way to the cluster."""
        serving = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)
        serving.start()
        while serving.is_alive() and not self._stopping.wait(0.2):
            pass
        self._server.should_exit = True
        serving.join(STOP_S + 1)
        self._amazon.shutdown(wait=False, cancel_futures=True)
        left = self._producer.close(STOP_S)
        if left:
            self._log.warning("posts not confirmed when the bridge ended; their senders were told so", count=left)

    def stop(self) -> None:
        self._stopping.set()

    def _app(self) -> FastAPI:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, exception_handlers={404: self._nowhere})
        app.add_api_route("/webhooks/{provider}/{account}", self._post, methods=["POST"], response_model=None)
        # Providers ask whether there is anything before they send (Mandrill with HEAD).
        app.add_api_route("/webhooks/{provider}/{account}", self._ask, methods=["GET", "HEAD"], response_model=None)
        for path in health.PATHS:
            app.add_api_route(path, self._healthy, methods=["GET"], response_model=None)
        return app

    async def _nowhere(self, request: Request, error: Exception) -> Response:
        return _unknown()

    async def _ask(self, provider: str, account: str) -> Response:
        provider = canonical_name(provider)
        known = _known(provider, account) and is_open_to(self._accounts, provider, account)
        return _text(200, "ready for posts") if known else _unknown()

    async def _healthy(self, request: Request) -> Response:
        # In a thread: /readyz may have to wait for the cluster.
        found = await asyncio.to_thread(health.answer, request.url.path, lambda: self.status, self._metrics.render)
        assert found is not None
        code, content_type, body = found
        return Response(body, code, {"cache-control": "no-store"}, content_type)

    async def _post(self, provider: str, account: str, request: Request) -> Response:
        response = await self._taken(provider, account, request)
        text = bytes(response.body).decode().strip()
        answer = firehose_answer(request.headers, response.status_code, text, time.time_ns() // 1000)
        return response if answer is None else JSONResponse(answer, response.status_code)

    async def _taken(self, provider: str, account: str, request: Request) -> Response:
        provider = canonical_name(provider)
        if not _known(provider, account):
            self._metrics.count("bridge_posts_total", "unknown", "unknown")
            return _unknown()
        answers = answers_of(provider)
        if not is_open_to(self._accounts, provider, account):
            return self._refuse_stranger(provider, account, answers)
        config = account_of(self._accounts, provider, account)
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(request, self._limits.body_bytes)
        except (TimeoutError, ClientDisconnect):
            return self._answer(provider, "unavailable", answers.unavailable, "the body did not arrive in time")
        if body is None:
            self._log.warning("post refused", provider=provider, account=account, reason="oversize")
            return self._answer(provider, "oversize", answers.oversize, f"more than {self._limits.body_bytes} bytes")
        post = Post(
            provider=provider,
            account=account,
            body=body,
            headers=worth_keeping(request.headers.items(), config.secrets),
            received_at=time.time_ns() // 1000,
            url=self._url(request),
            limits=self._limits,
        )
        try:
            if config.topics:
                loop = asyncio.get_running_loop()
                post = await loop.run_in_executor(self._amazon, certified, post, config, self._certificates)
        except CertificateUnavailable as error:
            self._log.warning("certificate not fetched", provider=provider, account=account, reason=str(error))
            return self._answer(provider, "unavailable", answers.unavailable, "the signature cannot be checked now")
        fits = verified(post, config)
        # Pings pass without a signature, so what no key fits is read once more, for what it says.
        if fits is False and _is_refused(post, config):
            return self._refuse(post, config, answers, refusal(post))
        if fits and not self._tokens.admits(_tokens(post, config), body, post.received_at):
            return self._refuse(post, config, answers, "its token came with another body before")
        if fits and (confirmation := PROVIDERS[post.provider].confirmation_url(post, config)) is not None:
            return await self._subscribe(post, confirmation, answers)
        return await self._publish(post, answers)

    async def _subscribe(self, post: Post, url: str, answers: Answers) -> Response:
        loop = asyncio.get_running_loop()
        if await loop.run_in_executor(self._amazon, self._confirm, url):
            self._log.info("subscription confirmed", provider=post.provider, account=post.account)
            return self._answer(post.provider, "accepted", 200, "confirmed")
        self._log.warning("subscription not confirmed", provider=post.provider, account=post.account)
        return self._answer(post.provider, "unavailable", answers.unavailable, "not confirmed, send it again")

    def _refuse_stranger(self, provider: str, account: str, answers: Answers) -> Response:
        """Until it is configured the provider sends again: a name that is missing here must not cost events."""
        if (provider, account) not in self._strangers and len(self._strangers) < STRANGERS_TOLD:
            self._strangers.add((provider, account))
            self._log.warning("posts refused: no such account in the settings", provider=provider, account=account)
        other = self._accounts.get(account)
        why = (
            f"account {account} is of {other.provider}" if other and other.provider else "no such account is configured"
        )
        return self._answer(provider, "unknown", answers.unavailable, why)

    def _refuse(self, post: Post, config: AccountConfig, answers: Answers, why: str) -> Response:
        self._log.warning("post refused", provider=post.provider, account=post.account, reason="signature", detail=why)
        if challenge(post.provider, post.headers, config.secrets):
            response = self._answer(post.provider, "refused", 401, "credentials are needed")
            response.headers["www-authenticate"] = 'Basic realm="stagepost"'
            return response
        return self._answer(post.provider, "refused", answers.refused, why)

    async def _publish(self, post: Post, answers: Answers) -> Response:
        began = time.monotonic()
        try:
            # What is given up here may still arrive: the provider's next try is a duplicate then, and dropped as one.
            async with asyncio.timeout(answers.patience_s):
                await self._producer.send(Emit(Topic.RAW, None, post.body, _headers(post)))
        except (NotConfirmed, TimeoutError) as error:
            why = str(error) or f"no answer of the cluster within {answers.patience_s:g} s"
            self._log.warning("post not confirmed", provider=post.provider, account=post.account, reason=why)
            return self._answer(post.provider, "unavailable", answers.unavailable, "not confirmed, send it again")
        self._metrics.observe("bridge_confirmation_seconds", time.monotonic() - began)
        return self._answer(post.provider, "accepted", 200, "accepted")

    def _answer(self, provider: str, result: str, code: int, text: str) -> Response:
        self._metrics.count("bridge_posts_total", provider, result)
        return _text(code, text)

    def _url(self, request: Request) -> str:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        base = self._public_url or f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"
        return base + path


async def _body(request: Request, limit: int) -> bytes | None:
    """The body's bytes; None when there are too many, of which no more than the limit is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


def _headers(post: Post) -> Headers:
    """Headers of ``email.raw`` (design.md 3)."""
    fields = {"provider": post.provider, "account": post.account, "received_at": rfc3339(post.received_at)}
    if post.url is not None:
        fields["url"] = post.url
    for name, value in post.headers.items():
        fields[name if name in _AS_THEY_ARE else f"http.{name}"] = value
    return tuple((name, value.encode()) for name, value in fields.items())


_AS_THEY_ARE = frozenset({"content-type", "traceparent", "tracestate"})


def _tokens(post: Post, account: AccountConfig) -> tuple[str, ...]:
    """What the account's keys signed, where a signature does not cover the body."""
    return tuple(token for key in account.secrets for token in PROVIDERS[post.provider].tokens(post, key))


def _is_refused(post: Post, account: AccountConfig) -> bool:
    return any(rejected.reason is Reason.SIGNATURE for rejected in normalise(post, account).rejected)


def _known(provider: str, account: str) -> bool:
    return provider in PROVIDERS and _ACCOUNT.fullmatch(account) is not None


def _unknown() -> Response:
    known = ", ".join(sorted(PROVIDERS))
    return _text(404, f"POST to /webhooks/PROVIDER/ACCOUNT; providers: {known}; accounts: letters, digits, . _ -")


def _text(code: int, text: str) -> Response:
    headers = {"retry-after": _WAIT_S} if code in (429, 503) else {}
    return Response(f"{text}\n", code, headers, "text/plain; charset=utf-8")
