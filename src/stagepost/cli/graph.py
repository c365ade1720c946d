"""``stagepost graph``: a journey as a picture that GitHub, GitLab and Mermaid's own editor draw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stagepost.cli.journey_files import files_of, journeys_of, parse_files, without_errors
from stagepost.cli.options import Json
from stagepost.cli.output import data, json_data

if TYPE_CHECKING:
    from stagepost.journey.graph import Graph


def add_to(app: typer.Typer) -> None:
    @app.command()
    def graph(
        journey: Annotated[Path, typer.Argument(metavar="JOURNEY", help="A journey file.")],
        as_json: Json = False,
    ) -> None:
        """Print a journey as Mermaid text.

        Stages, setbacks and their ways out, exits, timers (dotted), links.

        Example: stagepost graph journeys/webinar-nurture.yaml > webinar-nurture.mmd
        """
        from stagepost.journey.graph import graph_of, mermaid

        if journey.is_dir():
            raise typer.BadParameter(f"{journey} is a folder; a picture shows one journey", param_hint="JOURNEY")
        (definition,) = journeys_of(without_errors(parse_files(files_of([journey]))))
        picture = graph_of(definition)
        if as_json:
            json_data(_graph_json(picture) | {"mermaid": mermaid(picture)})
        else:
            data(mermaid(picture).rstrip("\n"))


def _graph_json(picture: Graph) -> dict[str, object]:
    return {
        "journey": picture.journey,
        "version": picture.version,
        "title": picture.title,
        "nodes": [{"id": n.id, "kind": n.kind, "name": n.name, "note": n.note} for n in picture.nodes],
        "arrows": [
            {"kind": a.kind, "from": a.source, "to": a.target, "label": a.label, "timer": a.timer}
            for a in picture.arrows
        ],
    }
