"""`emqlang explain TOPIC`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import Words, as_json, topics
from emqlang.views import ops as reference
from emqlang.views import render


@declare("explain", "emqlang explain E102", "emqlang explain log", "emqlang explain grad_synflow")
@click.argument("topic", type=Words("topic", topics))
@as_json
def command(topic: str, as_json: bool) -> None:
    """Explain an error code, an op or a statistic."""
    title, fields = reference.explain(topic)
    if as_json:
        render.json_object(
            {"schema": "emqlang.explain/1", "topic": topic, "title": title, **dict(fields)}
        )
    else:
        render.heading(title)
        render.fields(fields)
