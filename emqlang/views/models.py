"""The networks that have a name: what each takes and gives, and where its weights come from."""

from __future__ import annotations

from typing import Any

from emqlang.quant.models import MODELS, ModelSpec
from emqlang.views import render
from emqlang.views.render import Column


def screen() -> None:
    columns = (
        Column("model", style="bold"),
        Column("what it is", folds=True),
        Column("input"),
        Column("classes", "right"),
        Column("weights", style="dim"),
    )
    rows = [
        (spec.name, spec.description, spec.images.size, str(spec.classes), _weights(spec))
        for spec in MODELS.values()
    ]
    render.table(columns, rows)


def record() -> dict[str, Any]:
    models = [
        {
            "name": spec.name,
            "description": spec.description,
            "input_shape": spec.images.shape,
            "classes": spec.classes,
            "weights": _weights(spec),
        }
        for spec in MODELS.values()
    ]
    return {"schema": "emqlang.models/1", "models": models}


def _weights(spec: ModelSpec) -> str:
    return "shipped" if spec.embedded else "torchvision's" if spec.checkpoint else "random"
