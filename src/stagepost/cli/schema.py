"""``stagepost schema``: JSON Schemas of what stagepost reads and writes, and whether older ones are compatible."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from stagepost.cli.options import Json
from stagepost.cli.output import FAILED, Failure, complain, data, json_data, leave, note


def add_to(app: typer.Typer) -> None:
    @app.command()
    def schema(
        name: Annotated[
            str | None,
            typer.Argument(metavar="NAME", help="journey, event, transition, membership, metric, alert; or asyncapi."),
        ] = None,
        out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write to files there instead.")] = None,
        check: Annotated[
            bool,
            typer.Option(
                "--check", help="Compare with the files in --out DIR (default: those packaged); write nothing."
            ),
        ] = False,
        as_json: Json = False,
    ) -> None:
        """Print a JSON Schema, or AsyncAPI.

        Without a name list them, or with --out write all of them.

        A journey file that begins with "# yaml-language-server: $schema=./journey-1.schema.json" is checked while you
        type, without a network.

        Example: stagepost schema journey > journey-1.schema.json
        """
        from stagepost.schemas import ASYNCAPI, MODELS, NAMES, PACKAGED, file_name, schema_of, text_of

        if name is not None and name not in NAMES:
            raise typer.BadParameter(f"{name!r} is no schema; known are {', '.join(NAMES)}", param_hint="NAME")
        names = [name] if name is not None else list(NAMES)
        if check:
            _check([name] if name is not None else list(MODELS), PACKAGED if out is None else out, as_json)
        elif out is not None:
            written = [out / file_name(each) for each in names]
            out.mkdir(parents=True, exist_ok=True)
            for each, path in zip(names, written, strict=True):
                path.write_text(text_of(each), encoding="utf-8")
            if as_json:
                json_data({"written": [str(path) for path in written]})
            for path in written:
                note(f"wrote {path}")
        elif name is not None:
            if as_json:
                json_data(schema_of(name))
            else:
                data(text_of(name).rstrip("\n"))
        elif as_json:
            json_data({"schemas": {each: file_name(each) for each in names}})
        else:
            for each in names:
                words = "All public topics as one AsyncAPI 3.1 document." if each == ASYNCAPI else ""
                data(f"{each:<12}{words or schema_of(each)['description'].partition(chr(10))[0]}")


def _check(names: Sequence[str], folder: Path, as_json: bool) -> None:
    """Say for each schema whether the present one may take the place of the file's; exit 1 unless all may."""
    from stagepost.schemas import ASYNCAPI, WRITTEN_BY_PEOPLE, file_name, schema_of
    from stagepost.schemas.compare import changes, channel_changes

    if not folder.is_dir():
        raise typer.BadParameter(f"{folder}: no such folder", param_hint="--out")
    results: dict[str, dict[str, Any]] = {}
    for name in names:
        path = folder / file_name(name)
        if not path.is_file():
            results[name] = {"file": str(path), "state": "missing", "changes": []}
            continue
        old, new = _read(path), schema_of(name)
        if name == ASYNCAPI:
            found = channel_changes(old, new)
        else:
            found = changes(old, new, is_record=name not in WRITTEN_BY_PEOPLE)
        state = "incompatible" if found else "equal" if old == new else "compatible"
        results[name] = {"file": str(path), "state": state, "changes": found}
    failed = [name for name, result in results.items() if result["state"] in ("incompatible", "missing")]
    if as_json:
        json_data({"compatible": not failed, "schemas": results})
    else:
        for name, result in results.items():
            data(f"{name:<12}{result['state']}")
            for change in result["changes"]:
                data(f"  {change}")
    if failed:
        complain(f"{', '.join(failed)}: not compatible with {folder}")
        complain(f"to write the present ones: stagepost schema --out {folder}")
        leave(FAILED)


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(read, dict):
        raise Failure(f"{path}: is no JSON Schema: expected an object")
    return read
