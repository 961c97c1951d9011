"""`emqlang explain TOPIC`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import shown
from emqlang.cli.words import Words, topics
from emqlang.views.explain import Explanation, explain, index


@declare("explain", "emqlang explain E102", "emqlang explain log", "emqlang explain fisher_length")
@click.argument("topic", metavar="[TOPIC]", type=Words("topic", topics), default="")
@shown("explain")
def command(topic: str) -> Explanation:
    """Explain an error code, an op, a statistic or a proxy; without one, list the codes."""
    return explain(topic) if topic else index()
