"""The Faust app of ``notify`` and how it reaches the broker; each setting has its reason in faust.md.

May not contain: agents, timers, tasks. Nothing is made on import.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import faust
import mode
from faust.types.auth import CredentialsT

from stagepost.edges.errors import Stop

SESSION_S = 10.0
"""The default of 60 s means a stall of a minute after a kill -9."""

_HEARTBEAT_S = 2.0

_LARGEST = 10 << 20
"""Bytes of a dead letter, as the topics of dead letters allow it."""


def build_app(group: str, bootstrap: str, options: Mapping[str, str], folder: str) -> faust.App:
    """The app for a consumer group. ``options``: librdkafka's keys of the settings; of these the ones on security and
    ``session.timeout.ms`` have a meaning here. ``folder``: where Faust makes one of its own, with nothing kept in it.
    Raises Stop for a way of signing in that Faust cannot do."""
    session_s = float(options.get("session.timeout.ms", SESSION_S * 1000)) / 1000
    return faust.App(
        group,
        broker=[f"kafka://{server.strip()}" for server in bootstrap.split(",")],
        broker_credentials=credentials(options),
        processing_guarantee="at_least_once",
        # Fail-stop: ends within 2 s and reads again; the default goes on with a commit that stands still.
        agent_supervisor=mode.CrashingSupervisor,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=min(_HEARTBEAT_S, session_s / 4),
        broker_commit_interval=1.0,
        producer_max_request_size=_LARGEST,
        # Ours answers about health; theirs would bind 0.0.0.0:6066.
        web_enabled=False,
        # Topics are made by ``stagepost topics create``.
        topic_allow_declare=False,
        topic_disable_leader=True,
        worker_redirect_stdouts=False,
        key_serializer="raw",
        value_serializer="raw",
        autodiscover=False,
        datadir=folder,
    )


class FaustWorker(faust.Worker):
    """Faust's worker without its signals: the command line has its own, and a debugger on SIGUSR2 is none of ours."""

    def install_signal_handlers(self) -> None:
        """None: ``NotifyRole.stop`` ends the worker."""


def credentials(options: Mapping[str, str]) -> CredentialsT | None:
    """What librdkafka's security settings say, in Faust's words; None for a plain connection."""
    protocol = options.get("security.protocol", "plaintext").upper()
    if protocol == "PLAINTEXT":
        return None
    context = _tls(options) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context=context)
    mechanism = options.get("sasl.mechanism") or options.get("sasl.mechanisms") or "GSSAPI"
    if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        raise Stop(f"notify cannot sign in with sasl.mechanism {mechanism}; use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    return faust.SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"), cadata=options.get("ssl.ca.pem"))
        certificate = options.get("ssl.certificate.location")
        if certificate is not None:
            context.load_cert_chain(certificate, options.get("ssl.key.location"), options.get("ssl.key.password"))
    except (OSError, ssl.SSLError) as error:
        raise Stop(f"kafka.librdkafka: the certificates cannot be read: {error}") from error
    if options.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    if options.get("enable.ssl.certificate.verification") == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
