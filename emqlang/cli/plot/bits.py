"""`emqlang plot bits`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import picture
from emqlang.views import render


@declare(
    "bits",
    "emqlang plot bits recipe.json --out bits.png",
    "emqlang plot bits low.json high.json --out bits.svg",
)
@click.argument(
    "recipes", metavar="RECIPE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@picture
def command(recipes: tuple[Path, ...], out: Path) -> None:
    """Draw the weight bits of every layer (Figure 6), one line for each RECIPE.

    A RECIPE is a file that `assign` or `quantize` wrote. All are of one network.
    """
    from emqlang.quant.ptq.recipe import load_recipe
    from emqlang.views.figures import bits, canvas

    canvas.check(out)
    # the folder, too: every `quantize` writes a recipe.json
    named = [("/".join(path.parts[-2:]), load_recipe(path)) for path in recipes]
    canvas.save(bits.draw(named), out)
    render.note(f"wrote {out}")
