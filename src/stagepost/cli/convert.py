"""``stagepost convert``: one webhook body to canonical events, exactly as the ``normalise`` role reads it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stagepost.cli.options import Config, Json, load_from
from stagepost.cli.output import PARTLY, complain, leave, note

if TYPE_CHECKING:
    from stagepost.normalise import AccountConfig
    from stagepost.settings import Settings


def add_to(app: typer.Typer) -> None:
    @app.command()
    def convert(
        provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Such as sendgrid or postmark.")],
        file: Annotated[str, typer.Argument(metavar="FILE|-", help="The body; default: standard input.")] = "-",
        account: Annotated[str, typer.Option("--account", metavar="NAME", help="Account of the post.")] = "default",
        header: Annotated[
            list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A request header; repeatable.")
        ] = None,
        url: Annotated[str | None, typer.Option("--url", metavar="URL", help="The URL that was called.")] = None,
        received_at: Annotated[
            str | None, typer.Option("--received-at", metavar="RFC3339", help="When it was received; default: now.")
        ] = None,
        secret: Annotated[
            list[str] | None,
            typer.Option(
                "--secret",
                metavar="VALUE|@FILE",
                help="A key that may have signed; repeatable, all tried. Without one nothing is checked.",
            ),
        ] = None,
        config: Config = None,
        as_json: Json = False,
    ) -> None:
        """Print the canonical events of one webhook body.

        One JSON object a line; rejected parts, with their reason, on standard error. Contact ids made from addresses
        are those of your installation only where identity.tenant_key is set.

        Signatures are checked with --secret only, and "verified" is null without it: a body in a file has mostly lost
        the headers that signed it. A secret is what the provider shows as its signing key (SendGrid's is a public
        one), a PEM certificate of SNS, or USER:PASSWORD or header:NAME=VALUE where posts are not signed.

        Example: stagepost convert postmark click.json | stagepost simulate journeys/ --events -
        """
        from stagepost.events import encode_json
        from stagepost.normalise import NO_TENANT_KEY, Post, normalise
        from stagepost.wiring import limits_of

        settings = load_from(config).settings
        name = _provider(provider)
        limits = limits_of(settings)
        if name == "mandrill" and secret and url is None:
            raise typer.BadParameter("Mandrill signs the URL that it called: give --url", param_hint="--secret")
        post = Post(
            provider=name,
            account=_name(account),
            body=_body(file, limits.body_bytes),
            headers=_headers(header or []),
            received_at=_received_at(received_at),
            url=url,
            limits=limits,
        )
        key = settings.tenant_key() if settings.identity.tenant_key is not None else NO_TENANT_KEY
        result = normalise(post, _account(settings, account, name, secret or []), key)
        out = sys.stdout.buffer
        for event in result.events:
            out.write(encode_json(event) + b"\n")
        out.flush()
        if not result.events and not result.rejected:
            note("no event: a ping, a confirmation, or an empty body")
        for rejected in result.rejected:
            told = {"rejected": rejected.reason, "detail": rejected.detail, "part": rejected.part}
            complain(encode_json(told).decode())
        if result.rejected:
            leave(PARTLY)


def _provider(given: str) -> str:
    from stagepost.normalise import PROVIDERS, canonical_name

    name = canonical_name(given)
    if name not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise typer.BadParameter(f"{given!r} cannot be read; known are {known}", param_hint="PROVIDER")
    return name


def _name(account: str) -> str:
    """A name in an id has to be text; arguments that are none come as halves of characters."""
    if not account.isprintable():
        raise typer.BadParameter("not a name", param_hint="--account")
    return account or "default"


def _body(file: str, limit: int) -> bytes:
    """What is too large is read far enough to be refused."""
    if file == "-":
        return sys.stdin.buffer.read(limit + 1)
    try:
        with Path(file).open("rb") as body:
            return body.read(limit + 1)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None


def _headers(given: list[str]) -> dict[str, str]:
    headers = {}
    for text in given:
        name, found, value = text.partition("=")
        if not found or not name.strip():
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--header")
        headers[name.strip().lower()] = value
    return headers


def _received_at(text: str | None) -> int:
    from stagepost.events import parse_rfc3339

    if text is None:
        return time.time_ns() // 1000
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time such as 2026-11-02T09:14:07Z", param_hint="--received-at"
        ) from None


def _account(settings: Settings, name: str, provider: str, secrets: list[str]) -> AccountConfig:
    """The account's settings; secrets on the command line replace its own, and must fit.

    Without one nothing is checked.
    """
    from msgspec import structs

    from stagepost.normalise import AccountConfig
    from stagepost.wiring import account_configs

    account = account_configs(settings).get(name) or AccountConfig(provider=provider)
    if not secrets:
        return structs.replace(account, signature="off")
    return structs.replace(account, secrets=tuple(_secret(each, provider) for each in secrets), signature="require")


def _secret(given: str, provider: str) -> str:
    from stagepost.normalise.signatures import never_fits

    secret = _text(Path(given[1:])) if given.startswith("@") else given
    why = never_fits(provider, secret)
    if why is not None:
        raise typer.BadParameter(f"what is given {why}", param_hint="--secret")
    return secret


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--secret") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not text", param_hint="--secret") from None
