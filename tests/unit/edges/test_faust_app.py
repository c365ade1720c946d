"""The settings of the Faust app, each of which was measured, and how it signs in."""

from __future__ import annotations

import ssl

import faust
import mode
import pytest

from stagepost.edges.errors import Stop
from stagepost.edges.faust_app import build_app, credentials


def test_the_settings_are_those_that_were_measured() -> None:
    conf = build_app("acme.stagepost.notify", "a:9092,b:9093", {}, "/none").conf
    assert {
        "id": "acme.stagepost.notify",
        "broker": ["kafka://a:9092", "kafka://b:9093"],
        "processing_guarantee": "at_least_once",
        "agent_supervisor": mode.CrashingSupervisor,
        "broker_session_timeout": 10.0,
        "broker_heartbeat_interval": 2.0,
        "broker_commit_interval": 1.0,
        "web_enabled": False,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "worker_redirect_stdouts": False,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "autodiscover": False,
        "group_instance_id": None,
    } == {
        "id": conf.id,
        "broker": [str(url) for url in conf.broker],
        "processing_guarantee": conf.processing_guarantee.value,
        "agent_supervisor": conf.agent_supervisor,
        "broker_session_timeout": conf.broker_session_timeout,
        "broker_heartbeat_interval": conf.broker_heartbeat_interval,
        "broker_commit_interval": conf.broker_commit_interval,
        "web_enabled": conf.web_enabled,
        "topic_allow_declare": conf.topic_allow_declare,
        "topic_disable_leader": conf.topic_disable_leader,
        "worker_redirect_stdouts": conf.worker_redirect_stdouts,
        "key_serializer": conf.key_serializer,
        "value_serializer": conf.value_serializer,
        "autodiscover": conf.autodiscover,
        "group_instance_id": conf.consumer_group_instance_id,
    }


def test_the_session_follows_librdkafkas_setting_and_the_heartbeat_fits_in() -> None:
    conf = build_app("g", "a:9092", {"session.timeout.ms": "2000"}, "/none").conf
    assert (2.0, 0.5) == (conf.broker_session_timeout, conf.broker_heartbeat_interval)


def test_a_plain_connection_needs_no_credentials() -> None:
    assert credentials({}) is None
    assert credentials({"security.protocol": "PLAINTEXT"}) is None


def test_a_password_and_tls_are_taken_from_librdkafkas_settings() -> None:
    found = credentials(
        {
            "security.protocol": "sasl_ssl",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": "stagepost",
            "sasl.password": "secret",
        }
    )
    assert isinstance(found, faust.SASLCredentials)
    assert ("SASL_SSL", "SCRAM-SHA-512", "stagepost", "secret") == (
        found.protocol.value,
        found.mechanism.value,
        found.username,
        found.password,
    )
    assert found.ssl_context is not None
    assert (True, ssl.CERT_REQUIRED) == (found.ssl_context.check_hostname, found.ssl_context.verify_mode)


def test_tls_is_verified_unless_a_setting_says_otherwise() -> None:
    strict = credentials({"security.protocol": "ssl"})
    loose = credentials({"security.protocol": "ssl", "enable.ssl.certificate.verification": "false"})
    assert isinstance(strict, faust.SSLCredentials)
    assert isinstance(loose, faust.SSLCredentials)
    assert (ssl.CERT_REQUIRED, ssl.CERT_NONE) == (strict.context.verify_mode, loose.context.verify_mode)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"security.protocol": "sasl_plaintext", "sasl.mechanism": "OAUTHBEARER"}, "OAUTHBEARER"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/nowhere.pem"}, "certificates"),
    ],
)
def test_a_way_of_signing_in_that_cannot_work_is_named(options: dict[str, str], said: str) -> None:
    with pytest.raises(Stop, match=said):
        credentials(options)
