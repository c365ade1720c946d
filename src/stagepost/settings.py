"""All settings as one frozen tree, and where each value came from (design.md 10).

Order: flag, environment, ``.env``, ``stagepost.toml``, default. Unknown names are errors with a suggestion, secrets may
come from files (``..._FILE``, or ``..._file`` in TOML) and are shown nowhere.

May not contain: the process's own environment, which is an argument, or a client.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

PREFIX = "STAGEPOST_"

CAMPAIGN_PLACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "brevo": ("camp_id", "tags", "tag"),
        "mailersend": ("tags",),
        "mailgun": ("campaigns", "tags"),
        "mailjet": ("customcampaign", "mj_campaign_id"),
        "mailtrap": ("category",),
        "mandrill": ("tags",),
        "postmark": ("tag",),
        "resend": ("broadcast_id", "campaign", "category"),
        "sendgrid": ("singlesend_id", "marketing_campaign_id", "newsletter.newsletter_id", "category"),
        "ses": ("campaign",),
        "sparkpost": ("campaign_id", "rcpt_tags"),
    }
)
"""Where each provider's payload may name a campaign, in the order in which they are asked (providers.md 5.6)."""

PROVIDERS = tuple(CAMPAIGN_PLACES)

MASK = "**********"

OWNED_BY_THE_PROTOCOL: Mapping[str, str] = MappingProxyType(
    {
        "bootstrap.servers": "it is the setting kafka.bootstrap_servers",
        "metadata.broker.list": "it is the setting kafka.bootstrap_servers",
        "isolation.level": "readers of open transactions would count what is later aborted",
        "enable.auto.commit": "offsets are committed in the transaction of the batch",
        "enable.auto.offset.store": "offsets are committed in the transaction of the batch",
        "auto.offset.reset": "a lost position must stop the worker; the first one is chosen with --from",
        "partition.assignment.strategy": "others move the generation of the group before partitions are given up",
        "group.protocol": "the protocol was proven with classic groups, which give all partitions up before a change",
        "group.remote.assignor": "it is of groups that are not classic",
        "group.id": "it is made of the prefix and the role",
        "group.instance.id": "it is made of --instance",
        "client.id": "it is made of the role and the instance",
        "transactional.id": "it is made of the prefix, the role and the instance",
        "enable.idempotence": "transactions need it",
        "enable.gapless.guarantee": "a refused record must abort its transaction, and not end the producer",
        "enable.partition.eof": "the end of a partition tells that it is idle",
        "delivery.report.only.error": "where the control record lies is known from its report",
        "acks": "a transaction needs every replica in sync",
        "request.required.acks": "a transaction needs every replica in sync",
        "partitioner": "keys lie where JVM producers put them (murmur2)",
        "debug": "debug output of the client holds payloads and credentials",
        "test.mock.num.brokers": "a mock broker is not for workers",
    }
)
"""librdkafka settings that cannot be set, with the reason."""

_OTHER_VARIABLES = re.compile(
    # What the tests and the runner's failpoints read.
    r"STAGEPOST_(TEST_.*|REQUIRE_REAL|CI_.*|FAILPOINTS?(_.*)?|JOURNEYS_DIR)"
    # What Kubernetes puts into every pod beside a Service whose name begins with "stagepost".
    r"|STAGEPOST_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)

_SECRET_FIELDS = frozenset({"tenant_key", "secrets", "secret", "url"})
"""Fields that may be given as ``..._file``, beside every key of kafka.librdkafka."""

_MAX_FILE = 1 << 20


class SettingsError(Exception):
    """Settings that cannot be used. Each problem names the place and the fix."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _words(value: object) -> object:
    """A list given as one text, ``a, b``: what the environment can hold beside JSON."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


def _option(value: object) -> object:
    """librdkafka takes every setting as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Option = Annotated[str, BeforeValidator(_option)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class _Group(BaseModel):
    """The text below a field is its meaning, as ``config show --meaning`` and the README have it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class KafkaSettings(_Group):
    """The cluster, and raw client settings beside those that the delivery protocol owns."""

    bootstrap_servers: str = Field("localhost:9092", min_length=1)
    """Brokers to ask first, as host:port with commas between."""
    librdkafka: dict[str, Option] = Field({}, repr=False)
    """Raw settings of the Kafka client, such as TLS and SASL; those that the delivery protocol owns are refused."""

    @field_validator("librdkafka")
    @classmethod
    def _not_owned(cls, options: dict[str, str]) -> dict[str, str]:
        owned = [
            f"{key} cannot be set: {OWNED_BY_THE_PROTOCOL[key]}" for key in options if key in OWNED_BY_THE_PROTOCOL
        ]
        if owned:
            raise ValueError("; ".join(owned))
        return options


class RedisSettings(_Group):
    """Where the state of contacts is mirrored."""

    url: str = Field("redis://localhost:6379/0", repr=False, pattern=r"^(rediss?|unix)://\S+$")
    """Address of Redis: ``redis://``, ``rediss://`` (TLS) or ``unix://``; it may hold a password."""


class IdentitySettings(_Group):
    """How contacts are named."""

    tenant_key: SecretStr | None = Field(None, min_length=16)
    """Key of the hash that makes a contact id of an address. It never changes in an installation."""


class AccountSettings(_Group):
    """One account at an e-mail provider, as named by the header ``account`` of ``email.raw`` (providers.md 5.6)."""

    provider: str | None = None
    """The provider, such as sendgrid; without it the header of each record says it."""
    secrets: Annotated[tuple[Annotated[SecretStr, Field(min_length=1)], ...], BeforeValidator(_words)] = ()
    """All keys that may have signed a webhook: several during a rotation."""
    signature: Literal["off", "check", "mark", "require"] = "check"
    """What is done about signatures: ``check`` has an effect where secrets or topics are set, ``mark`` lets through
    what does not fit, unverified."""
    contact_keys: Words = ("contact_id",)
    """Names in a message's metadata under which your own contact id stands; the first that is there counts."""
    campaign_keys: Words = ("campaign_id",)
    """Names in a message's metadata under which its campaign stands; the first that is there counts."""
    campaign_from: Words = ()
    """Another order of the places where a campaign is looked for; empty: the provider's own. ``metadata`` stands for
    ``campaign_keys``, which go first where it is not named."""
    sending_domain: str | None = None
    """The domain that mails were sent from, where the provider's payload names none."""
    variants: Literal["ignore", "count"] = "ignore"
    """What is done about first opens and unique clicks: ``count`` where only these are received."""
    topics: Words = ()
    """ARNs of the SNS topics that may send (ses); listing any has SNS signatures checked. Without a list a certificate
    among the secrets proves only that Amazon sent a post, for whomever."""
    metadata_headers: Words = ("X-Metadata",)
    """Headers of the mail itself that hold metadata as a JSON object, where a provider reports them (ses, resend)."""
    tag_headers: Words = ("X-Tag", "X-Tags")
    """Headers of the mail itself that hold a tag, or tags as a JSON array."""

    @field_validator("provider")
    @classmethod
    def _known(cls, provider: str | None) -> str | None:
        if provider is not None and provider not in PROVIDERS:
            raise ValueError(f"unknown provider{_suggestion(provider, PROVIDERS)}; known are {', '.join(PROVIDERS)}")
        return provider

    @field_validator("campaign_from")
    @classmethod
    def _places(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        folded = tuple(name.lower() for name in names)
        provider = info.data.get("provider")
        of_one = CAMPAIGN_PLACES[provider] if provider else tuple(dict.fromkeys(chain(*CAMPAIGN_PLACES.values())))
        known = ("metadata", *of_one)
        for name in folded:
            if name not in known:
                raise ValueError(f"unknown place {name}{_suggestion(name, known)}; known are {', '.join(known)}")
        return folded


class ReceiverSettings(_Group):
    """Who is told of alerts. An Apprise URL holds credentials, so it is treated as a secret."""

    url: str = Field(repr=False, min_length=1)
    """Where it is sent to."""
    type: Literal["webhook", "pagerduty", "apprise"]
    """How it is told."""
    secret: SecretStr | None = None
    """Key that signs a webhook, or PagerDuty's routing key."""


class NotifySettings(_Group):
    """Who is told of alerts, and when."""

    receivers: tuple[ReceiverSettings, ...] = ()
    """Who is told of alerts; without any they are written to the log only."""
    group_wait: Seconds = 120.0
    """Seconds of wall time to wait for a parent alert that replaces its children."""


class LimitSettings(_Group):
    """How much of a webhook is read, and of it an event may hold (providers.md 5.3)."""

    body_bytes: int = Field(8 << 20, ge=1 << 20, le=8 << 20)
    """Most bytes of one post; ``email.raw`` takes no larger ones."""
    depth: int = Field(32, ge=16, le=100)
    """How deep brackets may stand within brackets."""
    parts: int = Field(10_000, ge=1_000, le=20_000)
    """Most events and recipients of one post: providers send up to 1,000."""
    metadata_keys: int = Field(50, ge=1, le=500)
    """Most keys of an event's metadata; what is beyond this or a limit below is cut and named in ``cut``."""
    metadata_bytes: int = Field(8 * 1024, ge=2 * 1024, le=64 * 1024)
    """Most bytes of an event's metadata, keys and values; ``journey`` takes events of 256 KiB."""
    tags: int = Field(50, ge=1, le=100)
    """Most tags of an event."""
    url_bytes: int = Field(8 * 1024, ge=2 * 1024, le=8 * 1024)
    """Most bytes of a URL; link rules match no longer ones."""
    string_bytes: int = Field(2 * 1024, ge=2 * 1024, le=8 * 1024)
    """Most bytes of every other string."""
    id_bytes: int = Field(256, ge=16, le=256)
    """Most bytes of a contact's or campaign's id; a longer one counts as absent. Lowering it gives contacts other ids.
    """


class BridgeSettings(_Group):
    """The webhook receiver."""

    public_url: str = Field("", pattern=r"^(https?://\S+)?$")
    """What stands before ``/webhooks`` where providers call it, if a proxy hides that: some sign the URL."""


class EngineSettings(_Group):
    """Sizes and times of the workers."""

    idle_after: Seconds = 30.0
    """Seconds without records and without lag after which a partition's clock follows the broker's time."""
    cache_contacts: int = Field(500_000, ge=1_000, le=100_000_000)
    """Contact states kept in process, over all partitions, and as many of the timers that are due next."""
    batch: int = Field(5_000, ge=1, le=100_000)
    """Most records in one transaction."""
    piece: int = Field(500, ge=1, le=5_000)
    """Most contact states in one call to Redis, which nothing interrupts."""
    dead_letter_share: float = Field(0.5, gt=0, le=1)
    """A worker stops when more than this share of the last records of a partition were dead letters. 1: any share."""
    dead_letter_window: int = Field(1_000, ge=10, le=1_000_000)
    """Records that ``dead_letter_share`` is taken over; fewer say nothing."""
    dead_letter_run: int = Field(500, ge=0, le=1_000_000)
    """A worker stops after more dead letters than this in a row, however few records it has seen. 0: any number."""


class Settings(BaseSettings):
    """The whole tree. Made by ``load_settings``; calling the class gives the defaults and what is passed in."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    prefix: str = Field("", pattern=r"^([a-z0-9][a-z0-9.-]*)?$", max_length=100)
    """In front of every topic, group id and transactional id; its own dot included."""
    journeys: Path = Path("journeys")
    """Folder of the journey files."""
    identity: IdentitySettings = IdentitySettings()
    accounts: dict[str, AccountSettings] = {}
    """Accounts at e-mail providers by name: provider, secrets of signatures, where contact and campaign stand. Once one
    of a provider has keys, the bridge takes posts of that provider for these names only."""
    notify: NotifySettings = NotifySettings()
    limits: LimitSettings = LimitSettings()
    bridge: BridgeSettings = BridgeSettings()
    engine: EngineSettings = EngineSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: ``load_settings`` merges the sources, so that it knows where a value came from."""
        return (init_settings,)

    def tenant_key(self) -> bytes:
        """The key that every worker needs; raises SettingsError without one."""
        if self.identity.tenant_key is None:
            raise SettingsError(
                "identity.tenant_key is not set, and no worker starts without it: contact ids made of addresses need "
                "it. Set STAGEPOST_IDENTITY__TENANT_KEY or STAGEPOST_IDENTITY__TENANT_KEY_FILE, for example to the "
                "output of 'openssl rand -hex 32', once and for all workers"
            )
        return self.identity.tenant_key.get_secret_value().encode()

    def public(self) -> dict[str, Any]:
        """The tree as JSON values, secrets masked: for ``config show`` and ``/config``."""
        tree: dict[str, Any] = self.model_dump(mode="json")
        tree["redis"]["url"] = mask_url(self.redis.url)
        for key in tree["kafka"]["librdkafka"]:
            if re.search(r"password|secret|\.pem|oauthbearer\.config", key):
                tree["kafka"]["librdkafka"][key] = MASK
        for receiver in tree["notify"]["receivers"]:
            receiver["url"] = re.sub(r"^(\w+://)?.*", rf"\1{MASK}", receiver["url"], count=1, flags=re.DOTALL)
        return tree


@dataclass(frozen=True)
class Loaded:
    """Settings, and by dotted path where each value that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str]

    def values(self) -> Iterator[tuple[str, object, str]]:
        """Dotted path, masked value and origin of every setting, in the order of the tree."""
        for path, value in _leaves(self.settings.public()):
            yield path, value, self._origin(path)

    def _origin(self, path: str) -> str:
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path.rpartition(".")[0]
        return "default"


def meaning(path: str) -> str:
    """What the setting at a dotted path means, in one line; of a table's entries what the table means.

    >>> meaning("engine.batch")
    'Most records in one transaction.'
    """
    model: Any = Settings
    told = ""
    for name in path.split("."):
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields[name]
            told, model = field.description or told, field.annotation
        elif get_origin(model) is dict:
            model = get_args(model)[1]
    return " ".join(told.split()).replace("``", "`")


def load_settings(
    flags: Mapping[str, object], config: Path | None, env: Mapping[str, str], folder: Path = Path()
) -> Settings:
    """Settings from all sources; see ``load``."""
    return load(flags, config, env, folder).settings


def load(flags: Mapping[str, object], config: Path | None, env: Mapping[str, str], folder: Path = Path()) -> Loaded:
    """Merge all sources. Raises SettingsError with every problem, its place and its fix.

    ``flags``: dotted path to value, None where not given. ``config``: a file that must exist; None takes
    ``stagepost.toml`` in ``folder`` when it is there. ``.env`` is read from ``folder`` too.
    """
    dotenv = folder / ".env"
    from_dotenv = dotenv_values(stream=StringIO(_text(dotenv))) if dotenv.is_file() else {}
    sources = [
        _toml(config, folder),
        _environment({name: value or "" for name, value in from_dotenv.items()}, f"{dotenv}: "),
        _environment(env, ""),
        _Source(_nested({path: value for path, value in flags.items() if value is not None}), "flag", {}),
    ]
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        source.read_secret_files()
        _merge(tree, source.tree)
        origins |= {path: source.place(path) for path, _ in _leaves(source.tree)}
    try:
        return Loaded(Settings(**tree), MappingProxyType(origins))
    except ValidationError as error:
        raise SettingsError(*_problems(error, origins)) from None  # the cause would show secrets


class _Source:
    """One layer: its tree, and how to name the place of a value in it."""

    def __init__(self, tree: dict[str, Any], name: str, places: Mapping[str, str]) -> None:
        self.tree = tree
        self._name = name
        self._places = places

    def place(self, path: str) -> str:
        while path:
            if path in self._places:
                return self._places[path]
            path = path.rpartition(".")[0]
        return self._name

    def read_secret_files(self) -> None:
        """Put the content of a file in place of every ``..._file`` beside a secret."""
        self._read_files(self.tree, "")

    def _read_files(self, node: object, path: str) -> None:
        if isinstance(node, list | tuple):
            for number, item in enumerate(node):
                self._read_files(item, f"{path}{number}.")
        if not isinstance(node, dict):
            return
        for key in list(node):
            name = key.removesuffix("_file")
            if name != key and (name in _SECRET_FIELDS or path == "kafka.librdkafka."):
                if name in node:
                    raise SettingsError(
                        f"{self.place(path + key)}: {path}{name} is given twice, as a value and as a file"
                    )
                content = _text(Path(str(node.pop(key))), self.place(path + key)).strip()
                node[name] = content.splitlines() if name == "secrets" else content
            else:
                self._read_files(node[key], f"{path}{key}.")


class _Variables(EnvSettingsSource):
    """pydantic-settings' reading of environment variables, of a given mapping."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._variables.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON where it looks like JSON, else the text, which a field may split into words."""
        return json.loads(value) if value.lstrip().startswith(("[", "{", '"')) else value


def _environment(env: Mapping[str, str], place: str) -> _Source:
    """The layer of environment variables. Raises SettingsError for unknown names."""
    ours = {
        name: value for name, value in env.items() if name.startswith(PREFIX) and not _OTHER_VARIABLES.fullmatch(name)
    }
    paths = {name: name.removeprefix(PREFIX).lower().split("__") for name in ours}
    unknown = [f"{place}{name} is no setting{hint}" for name in ours if (hint := _unknown(paths[name])) is not None]
    if unknown:
        raise SettingsError(*unknown)
    try:
        tree = _Variables(ours)()
    except (SourceError, ValueError):
        broken = [name for name, value in ours.items() if _broken_json(value)]
        raise SettingsError(*(f"{place}{name} is not valid JSON" for name in broken or ours)) from None
    _dotted_options(tree)
    places = {}
    for name, (*parents, last) in paths.items():
        if parents == ["kafka", "librdkafka"]:
            last = _dotted(last)
        for key in (last, last.removesuffix("_file")):
            places[".".join([*parents, key])] = f"{place}{name}"
    return _Source(tree, place or "environment", places)


def _dotted_options(tree: dict[str, Any]) -> None:
    """Give the keys of kafka.librdkafka their dots, which names of variables cannot have."""
    kafka = tree.get("kafka")
    options = kafka.get("librdkafka") if isinstance(kafka, dict) else None
    if isinstance(options, dict):
        for key in list(options):
            options[_dotted(key)] = options.pop(key)


def _dotted(key: str) -> str:
    """librdkafka's names have no underscore, with one exception; ``_file`` is ours."""
    if key == "log_level":
        return key
    suffix = "_file" if key.endswith("_file") else ""
    return key.removesuffix(suffix).replace("_", ".") + suffix


def _broken_json(value: str) -> bool:
    if not value.lstrip().startswith(("[", "{", '"')):
        return False
    try:
        json.loads(value)
    except ValueError:
        return True
    return False


def _toml(config: Path | None, folder: Path) -> _Source:
    """The layer of the settings file; empty without one."""
    path = config or folder / "stagepost.toml"
    if config is None and not path.is_file():
        return _Source({}, "", {})
    try:
        return _Source(tomllib.loads(_text(path)), str(path), {})
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error


def _text(path: Path, place: str = "") -> str:
    """A bounded read; errors name the file and who asked for it."""
    asked = f"{place}: " if place else ""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise SettingsError(f"{asked}{path} is larger than {_MAX_FILE} bytes")
        return content.decode()
    except OSError as error:
        raise SettingsError(f"{asked}cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{asked}{path} is not UTF-8 text") from error


def _unknown(path: list[str]) -> str | None:
    """Why a variable's path is none of a setting, as a hint to append; None when it is one."""
    model: Any = Settings
    for number, name in enumerate(path):
        if isinstance(model, type) and issubclass(model, BaseModel):
            known = list(model.model_fields)
            last = number == len(path) - 1
            if last and name.endswith("_file") and name.removesuffix("_file") in _SECRET_FIELDS.intersection(known):
                return None
            if name not in known:
                whole = next((path_ for path_ in _paths(Settings) if "_".join(path_) == "_".join(path)), None)
                if whole is not None:
                    return f" (did you mean {PREFIX}{'__'.join(whole).upper()}, with two underscores between parts?)"
                names = [PREFIX + "__".join([*path[:number], field]).upper() for field in known]
                return _suggestion(PREFIX + "__".join(path[: number + 1]).upper(), names)
            model = model.model_fields[name].annotation
        elif get_origin(model) is dict:
            model = get_args(model)[1]
        else:
            return f": {'.'.join(path[:number])} has no parts"
    return None


def _paths(model: Any) -> Iterator[tuple[str, ...]]:
    """The paths of all settings whose names are fixed."""
    for name, field in model.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield from ((name, *rest) for rest in _paths(part))
        else:
            yield (name,)


def _suggestion(name: str, known: list[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _problems(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    """One line for each error: place, path, what is wrong. Never the value, which may be a secret."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        location = [str(part) for part in problem["loc"]]
        path = ".".join(location)
        places = [
            place for key, place in origins.items() if f"{key}.".startswith(f"{path}.") or path.startswith(f"{key}.")
        ]
        if problem["type"] == "extra_forbidden":
            message = "unknown setting" + _suggestion(location[-1], _siblings(location))
        else:
            message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{places[0] if places else 'default'}: {path}: {message}")
    return lines


def _siblings(location: list[str]) -> list[str]:
    """Names that would have been known where ``location`` points."""
    model: Any = Settings
    for name in location[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[name].annotation
        else:
            model = next(argument for argument in reversed(get_args(model)) if argument is not Ellipsis)
    return list(model.model_fields)


def mask_url(url: str) -> str:
    """Without the password between ``:`` and ``@``, or behind ``password=``."""
    masked = re.sub(r"(://[^/@\s]*?):[^@\s]*@", rf"\1:{MASK}@", url)
    return re.sub(r"(password=)[^&\s]*", rf"\1{MASK}", masked)


def _nested(flat: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def _merge(tree: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Put ``over`` on top: tables are merged, everything else is replaced."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    """Dotted path and value of everything that is no table; an empty table is a value."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
