"""What training gave: how it went, and accuracy in float, before and after."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from msgspec import to_builtins

from emqlang.quant.ptq.recipe import Training
from emqlang.tasks.qat import Qat
from emqlang.views import render
from emqlang.views.eval import network
from emqlang.views.evaluate import figures, figures_record
from emqlang.views.render import Column, View


def screen(qat: Qat) -> None:
    training, folding = _training(qat), qat.trained.folding
    network(qat.network)
    render.fields(
        [
            ("from", str(qat.source)),
            ("trained on", f"{training.images:,} images: {qat.images}"),
            ("validated on", f"{training.validation:,} others of them"),
            ("test", qat.test),
            ("settings", _settings(training)),
            ("folding", "" if folding is None else f"moved the outputs by {folding:.3%}"),
            ("written to", str(qat.out) if qat.out else ""),
        ]
    )
    render.text()
    render.table([Column(title, "right") for title in _TITLES], _epochs(qat))
    render.text()
    columns = [Column("", style="bold"), *(Column(title, "right") for title in _COLUMNS)]
    others = [dict(figures(each)) for each in (qat.floating, qat.before)]
    rows = [
        (name, *(other.get(name, "") for other in others), value)
        for name, value in figures(qat.after)
    ]
    render.table(columns, rows)
    if not training.best:
        render.text()
        render.note("no epoch was better than the network as it began, which is what is kept")
    if qat.floating.accuracy is None:
        render.text()
        render.note(qat.floating.basis)


def record(qat: Qat) -> dict[str, Any]:
    net, course = qat.network, qat.trained.course
    return {
        "schema": "emqlang.qat/1",
        "model": {"name": net.name, "weights": net.weights, "weights_sha256": net.weights_sha256},
        "from": str(qat.source),
        "images": qat.images,
        "test": qat.test,
        "training": to_builtins(_training(qat)),
        "validation": [asdict(score) for score in course.validation],
        "losses": course.losses,
        "folding": qat.trained.folding,
        "float": figures_record(qat.floating),
        "before": figures_record(qat.before),
        "after": figures_record(qat.after),
        "seconds": qat.seconds,
        "out": None if qat.out is None else str(qat.out),
    }


VIEWS: Final = {Qat: View(screen, record)}
_TITLES: Final = ("epoch", "training loss", "validation loss", "accuracy", "")
_COLUMNS: Final = ("float", "quantized", "trained")


def _training(qat: Qat) -> Training:
    """This one, of those that the recipe lists."""
    trainings = qat.trained.quantized.recipe.training
    assert isinstance(trainings, tuple)
    return trainings[-1]


def _settings(training: Training) -> str:
    parts = [
        f"{training.epochs} epoch{'s' * (training.epochs > 1)}",
        f"learning rate {training.rate:g}",
        f"{training.batch} images in a step",
        f"weight decay {training.decay:g}",
        f"seed {training.seed}",
        f"distillation {training.distill:g} at temperature {training.temperature:g}"
        if training.distill
        else "",
        "batch norms trained" if training.norms == "train" else "",
    ]
    return ", ".join(filter(None, parts))


def _epochs(qat: Qat) -> list[tuple[str, ...]]:
    """A row for the network as it began, and one for each epoch."""
    course = qat.trained.course
    losses = ["", *(f"{loss:.4f}" for loss in course.losses)]
    return [
        (
            str(epoch),
            loss,
            f"{score.loss:.4f}",
            "" if score.accuracy is None else f"{score.accuracy:.2%}",
            "kept" if epoch == course.best else "",
        )
        for epoch, (loss, score) in enumerate(zip(losses, course.validation, strict=True))
    ]
