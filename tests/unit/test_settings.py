"""Settings: the order of sources, what is refused and how it is said, and that no secret is shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from stagepost.settings import MASK, ReceiverSettings, Settings, SettingsError, load, load_settings, meaning


def settings(tmp_path: Path, toml: str = "", env: Mapping[str, str] | None = None, dotenv: str = "", **flags: object):
    if toml:
        (tmp_path / "stagepost.toml").write_text(toml)
    if dotenv:
        (tmp_path / ".env").write_text(dotenv)
    named = {name.replace("__", "."): value for name, value in flags.items()}
    return load_settings(named, None, env or {}, tmp_path)


def refused(tmp_path: Path, toml: str = "", env: Mapping[str, str] | None = None, dotenv: str = "") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, toml, env, dotenv)
    return [problem.replace(str(tmp_path) + "/", "") for problem in caught.value.problems]


def test_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    made = settings(tmp_path)
    assert ("localhost:9092", {}) == (made.kafka.bootstrap_servers, made.kafka.librdkafka)
    assert ("redis://localhost:6379/0", "", Path("journeys")) == (made.redis.url, made.prefix, made.journeys)
    assert (None, {}) == (made.identity.tenant_key, made.accounts)
    assert ((), 120) == (made.notify.receivers, made.notify.group_wait)
    engine = made.engine
    assert (30, 500_000, 5_000, 500) == (engine.idle_after, engine.cache_contacts, engine.batch, engine.piece)


def test_the_tree_is_frozen(tmp_path: Path) -> None:
    made = settings(tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        made.prefix = "x."  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        made.kafka.bootstrap_servers = "x"  # type: ignore[misc]


def test_flag_beats_environment_beats_dotenv_beats_file(tmp_path: Path) -> None:
    toml = 'prefix = "file."\nredis.url = "redis://file"\njourneys = "file"\n[kafka]\nbootstrap_servers = "file:1"\n'
    dotenv = "STAGEPOST_PREFIX=dotenv.\nSTAGEPOST_REDIS__URL=redis://dotenv\nSTAGEPOST_JOURNEYS=dotenv\nOTHER_TOOL=1\n"
    env = {"STAGEPOST_PREFIX": "env.", "STAGEPOST_REDIS__URL": "redis://env", "PATH": "/bin"}
    made = settings(tmp_path, toml, env, dotenv, prefix="flag.", journeys=None)
    assert ("flag.", "redis://env", Path("dotenv")) == (made.prefix, made.redis.url, made.journeys)
    assert made.kafka.bootstrap_servers == "file:1"


def test_each_value_knows_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('journeys = "j"\nprefix = "a."\n[accounts.acme]\nprovider = "ses"\n')
    (tmp_path / ".env").write_text("STAGEPOST_ENGINE__BATCH=10\n")
    (tmp_path / "key").write_text("0123456789abcdef\n")
    env = {
        "STAGEPOST_KAFKA__LIBRDKAFKA__SASL_PASSWORD": "hush",
        "STAGEPOST_IDENTITY__TENANT_KEY_FILE": str(tmp_path / "key"),
    }
    loaded = load({"prefix": "b."}, tmp_path / "mine.toml", env, tmp_path)
    found = {path: (value, origin.replace(str(tmp_path) + "/", "")) for path, value, origin in loaded.values()}
    assert found["prefix"] == ("b.", "flag")
    assert found["journeys"] == ("j", "mine.toml")
    assert found["accounts.acme.provider"] == ("ses", "mine.toml")
    assert found["accounts.acme.variants"] == ("ignore", "default")
    assert found["engine.batch"] == (10, ".env: STAGEPOST_ENGINE__BATCH")
    assert found["kafka.librdkafka.sasl.password"] == (MASK, "STAGEPOST_KAFKA__LIBRDKAFKA__SASL_PASSWORD")
    assert found["identity.tenant_key"] == (MASK, "STAGEPOST_IDENTITY__TENANT_KEY_FILE")
    assert found["redis.url"] == ("redis://localhost:6379/0", "default")


def test_the_environment_gives_tables_lists_and_client_settings(tmp_path: Path) -> None:
    made = settings(
        tmp_path,
        env={
            "STAGEPOST_ACCOUNTS__ACME__PROVIDER": "sendgrid",
            "STAGEPOST_ACCOUNTS__ACME__CONTACT_KEYS": "cid, contact",
            "STAGEPOST_ACCOUNTS__ACME__CAMPAIGN_KEYS": '["c,1"]',
            "STAGEPOST_NOTIFY__RECEIVERS": '[{"url": "https://hooks.example/x", "type": "webhook"}]',
            "STAGEPOST_KAFKA__LIBRDKAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "STAGEPOST_KAFKA__LIBRDKAFKA__LOG_LEVEL": "3",
        },
    )
    assert ("sendgrid", ("cid", "contact")) == (made.accounts["acme"].provider, made.accounts["acme"].contact_keys)
    assert made.accounts["acme"].campaign_keys == ("c,1",)
    assert [("https://hooks.example/x", "webhook")] == [(r.url, r.type) for r in made.notify.receivers]
    assert made.kafka.librdkafka == {"security.protocol": "SASL_SSL", "log_level": "3"}


def test_secrets_come_from_files_in_the_environment_and_in_the_settings_file(tmp_path: Path) -> None:
    for name, text in {"k": "0123456789abcdef\n", "s": "one\ntwo\n", "p": "hush\n", "u": "redis://:pw@h\n"}.items():
        (tmp_path / name).write_text(text)
    toml = (
        f'redis.url_file = "{tmp_path}/u"\naccounts.acme.secrets_file = "{tmp_path}/s"\n'
        f'[[notify.receivers]]\nurl = "https://h"\ntype = "webhook"\nsecret_file = "{tmp_path}/p"\n'
    )
    made = settings(
        tmp_path,
        toml,
        {
            "STAGEPOST_IDENTITY__TENANT_KEY_FILE": f"{tmp_path}/k",
            "STAGEPOST_KAFKA__LIBRDKAFKA__SASL_PASSWORD_FILE": f"{tmp_path}/p",
        },
    )
    assert made.tenant_key() == b"0123456789abcdef"
    assert made.kafka.librdkafka == {"sasl.password": "hush"}
    assert made.redis.url == "redis://:pw@h"
    assert ["one", "two"] == [secret.get_secret_value() for secret in made.accounts["acme"].secrets]
    [receiver] = made.notify.receivers
    assert receiver.secret is not None
    assert receiver.secret.get_secret_value() == "hush"


def test_a_secret_file_that_is_missing_is_named_with_who_asked_for_it(tmp_path: Path) -> None:
    assert refused(tmp_path, env={"STAGEPOST_IDENTITY__TENANT_KEY_FILE": f"{tmp_path}/none"}) == [
        "STAGEPOST_IDENTITY__TENANT_KEY_FILE: cannot read none: No such file or directory"
    ]


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    toml = '[identity]\ntenant_key = "0123456789abcdef"\ntenant_key_file = "k"\n'
    assert refused(tmp_path, toml) == ["stagepost.toml: identity.tenant_key is given twice, as a value and as a file"]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("prefx = 'a.'", "stagepost.toml: prefx: unknown setting (did you mean prefix?)"),
        (
            "[kafka]\nbootstrap_server = 'h'",
            "stagepost.toml: kafka.bootstrap_server: unknown setting (did you mean bootstrap_servers?)",
        ),
        ("accounts.a.secret = 'x'", "stagepost.toml: accounts.a.secret: unknown setting (did you mean secrets?)"),
        (
            "[[notify.receivers]]\nurl = 'u'\ntype = 'webhook'\nsecrets = 's'",
            "stagepost.toml: notify.receivers.0.secrets: unknown setting (did you mean secret?)",
        ),
        ("engine.batch = 0", "stagepost.toml: engine.batch: Input should be greater than or equal to 1"),
        ("prefix = 'A_b'", "stagepost.toml: prefix: String should match pattern '^([a-z0-9][a-z0-9.-]*)?$'"),
        (
            "accounts.a.provider = 'sendgird'",
            "stagepost.toml: accounts.a.provider: unknown provider (did you mean sendgrid?); known are brevo, "
            "mailersend, mailgun, mailjet, mailtrap, mandrill, postmark, resend, sendgrid, ses, sparkpost",
        ),
        (
            "accounts.a = {provider = 'sendgrid', campaign_from = ['newsleter.newsletter_id']}",
            "stagepost.toml: accounts.a.campaign_from: unknown place newsleter.newsletter_id (did you mean "
            "newsletter.newsletter_id?); known are metadata, singlesend_id, marketing_campaign_id, "
            "newsletter.newsletter_id, category",
        ),
        (
            "kafka.librdkafka = {'isolation.level' = 'read_uncommitted'}",
            "stagepost.toml: kafka.librdkafka: isolation.level cannot be set: readers of open transactions would count "
            "what is later aborted",
        ),
        ("prefix = ", "stagepost.toml: not valid TOML: Invalid value (at end of document)"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_file_is_said_with_place_and_fix(tmp_path: Path, toml: str, problem: str) -> None:
    assert refused(tmp_path, toml) == [problem]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (
            "STAGEPOST_KAFKA",
            "x",
            "STAGEPOST_KAFKA: kafka: Input should be a valid dictionary or instance of KafkaSettings",
        ),
        ("STAGEPOST_PREFX", "x", "STAGEPOST_PREFX is no setting (did you mean STAGEPOST_PREFIX?)"),
        (
            "STAGEPOST_REDIS_URL",
            "redis://h",
            "STAGEPOST_REDIS_URL is no setting (did you mean STAGEPOST_REDIS__URL, with two underscores between "
            "parts?)",
        ),
        (
            "STAGEPOST_KAFKA__BOOTSTRAP_SERVER",
            "x",
            "STAGEPOST_KAFKA__BOOTSTRAP_SERVER is no setting (did you mean STAGEPOST_KAFKA__BOOTSTRAP_SERVERS?)",
        ),
        ("STAGEPOST_PREFIX__DEEP", "x", "STAGEPOST_PREFIX__DEEP is no setting: prefix has no parts"),
        ("STAGEPOST_NOTIFY__RECEIVERS", "[{", "STAGEPOST_NOTIFY__RECEIVERS is not valid JSON"),
        (
            "STAGEPOST_KAFKA__LIBRDKAFKA__ACKS",
            "1",
            "STAGEPOST_KAFKA__LIBRDKAFKA__ACKS: kafka.librdkafka: acks cannot be set: a transaction needs every "
            "replica in sync",
        ),
        (
            "STAGEPOST_ENGINE__BATCH",
            "many",
            "STAGEPOST_ENGINE__BATCH: engine.batch: Input should be a valid integer, unable to parse string "
            "as an integer",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_environment_is_said_with_place_and_fix(
    tmp_path: Path, name: str, value: str, problem: str
) -> None:
    assert refused(tmp_path, env={name: value}) == [problem]


def test_a_wrong_name_in_dotenv_is_said_with_the_file(tmp_path: Path) -> None:
    assert refused(tmp_path, dotenv="STAGEPOST_PREFX=a\n") == [
        ".env: STAGEPOST_PREFX is no setting (did you mean STAGEPOST_PREFIX?)"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "STAGEPOST_TEST_KAFKA",
        "STAGEPOST_REQUIRE_REAL",
        "STAGEPOST_SERVICE_HOST",
        "STAGEPOST_JOURNEY_PORT_8082_TCP_ADDR",
    ],
)
def test_variables_of_the_tests_and_of_kubernetes_services_are_no_settings(tmp_path: Path, name: str) -> None:
    assert settings(tmp_path, env={name: "x"}) == settings(tmp_path)


def test_a_config_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*none\.toml: No such file or directory"):
        load_settings({}, tmp_path / "none.toml", {}, tmp_path)


def test_a_worker_without_a_tenant_key_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="openssl rand -hex 32"):
        settings(tmp_path).tenant_key()


def test_a_key_that_can_be_guessed_is_refused_and_not_shown(tmp_path: Path) -> None:
    problems = refused(tmp_path, env={"STAGEPOST_IDENTITY__TENANT_KEY": "hunter2"})
    assert problems == [
        "STAGEPOST_IDENTITY__TENANT_KEY: identity.tenant_key: "
        "Value should have at least 16 items after validation, not 7"
    ]


def test_no_secret_is_shown(tmp_path: Path) -> None:
    made = settings(
        tmp_path,
        'accounts.a.secrets = ["hush-1"]\n[[notify.receivers]]\nurl = "slack://hush-2/x"\ntype = "apprise"\n',
        {
            "STAGEPOST_IDENTITY__TENANT_KEY": "hush-3-0123456789",
            "STAGEPOST_REDIS__URL": "redis://user:hush-4@h:1/0",
            "STAGEPOST_KAFKA__LIBRDKAFKA__SASL_PASSWORD": "hush-5",
            "STAGEPOST_KAFKA__LIBRDKAFKA__SASL_USERNAME": "ann",
        },
    )
    shown = made.public()
    assert "hush" not in f"{shown} {made!r} {made}"
    assert shown["redis"]["url"] == f"redis://user:{MASK}@h:1/0"
    assert shown["notify"]["receivers"][0]["url"] == f"slack://{MASK}"
    assert shown["kafka"]["librdkafka"] == {"sasl.password": MASK, "sasl.username": "ann"}


def test_the_class_itself_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEPOST_PREFIX", "env.")
    assert Settings().prefix == ""


@pytest.mark.parametrize("key", ["group.protocol", "enable.gapless.guarantee", "auto.offset.reset", "isolation.level"])
def test_what_the_delivery_protocol_owns_is_refused_with_the_reason(key: str) -> None:
    with pytest.raises(SettingsError, match=f"{key} cannot be set: "):
        load_settings({"kafka.librdkafka": {key: "x"}}, None, {})


def test_every_setting_says_what_it_means(tmp_path: Path) -> None:
    toml = "[accounts.a]\nprovider = 'ses'\n[kafka.librdkafka]\n'security.protocol' = 'SSL'\n"
    (tmp_path / "stagepost.toml").write_text(toml)
    told = {path: meaning(path) for path, _, _ in load({}, None, {}, tmp_path).values()}
    assert [] == [path for path, text in told.items() if not text]
    assert told["kafka.librdkafka.security.protocol"].startswith("Raw settings of the Kafka client")
    assert [] == [field for field, info in ReceiverSettings.model_fields.items() if not info.description]
