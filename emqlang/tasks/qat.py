"""A recipe or a quantized network to a trained one, with its accuracy before and after."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.export import is_checkpoint
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq.evaluate import Evaluation, evaluate, load_metric, predict
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import Quantized, load_quantized, read_recipe
from emqlang.quant.ptq.recipe import Procedure, Recipe, load_recipe
from emqlang.quant.ptq.splits import calibration_images, test_images, training_images
from emqlang.quant.qat.job import Job
from emqlang.quant.qat.schedule import Settings, check_preset
from emqlang.quant.qat.trainer import Trained
from emqlang.quant.user_code import load_function
from emqlang.tasks.claims import believed
from emqlang.tasks.evaluate import completed
from emqlang.tasks.workbench import WorkbenchOptions, device_named


@dataclass(frozen=True)
class QatOptions:
    """How to train, in the words of the command line's options; None leaves it to the preset.

    preset        one of PRESETS, or None for the defaults of `Settings`
    metric        by which results are judged, as file.py:function
    train_images  None for all
    """

    epochs: int | None = None
    rate: float | None = None
    batch: int | None = None
    distill: float | None = None
    temperature: float | None = None
    norms: str | None = None
    preset: str | None = None
    metric: str | None = None
    train_images: int | None = None

    def settings(self, seed: int) -> Settings:
        names = ("epochs", "rate", "batch", "distill", "temperature", "norms")
        given = {name: getattr(self, name) for name in names}
        return Settings.of(self.preset, seed=seed, **given)


@dataclass(frozen=True, eq=False)
class Qat:
    """A trained network beside the one that it began as, and the float one.

    source        the recipe or the checkpoint
    images, test  what it was trained and tested on
    before        of the quantized network as it began; all three on the same test images
    out           the folder that the network was written to
    """

    network: Network
    source: Path
    trained: Trained
    images: str
    test: str
    floating: Evaluation
    before: Evaluation
    after: Evaluation
    seconds: float
    out: Path | None
    diagnostics: tuple[Diagnostic, ...]


def train(
    source: Path,
    options: WorkbenchOptions,
    qat: QatOptions,
    given: Container[str] = (),
    out: Path | None = None,
    progress: Progress = silent,
    note: Callable[[str], None] = lambda line: None,
) -> Qat:
    """Train what a recipe or a checkpoint says, and write recipe and model.

    A recipe's weights are rounded to the nearest value first.
    given  which options the user named: the others are the source's own
    out    a folder, also for what is learned so far: an interrupted run resumes from it
    note   told that the work goes on from what is there, or why it does not
    Raises E301 to E312, E320, E403; what can be refused is, before anything is computed.
    """
    began = perf_counter()
    checkpoint = is_checkpoint(source)
    recipe = read_recipe(source) if checkpoint else load_recipe(source)
    options = completed(options, recipe, given)
    settings, device = qat.settings(options.seed), device_named(options.device)
    own, metric = _loss(options.loss), None if qat.metric is None else load_metric(qat.metric)
    network = options.network()
    recipe, unlike = believed(recipe, network, guarded=checkpoint)
    if qat.preset is not None:
        check_preset(qat.preset, recipe)
    images = training_images(network, options.data, options.seed, qat.train_images)
    job = Job.of(network, images, settings, own, device)
    test = _test(job, options)
    quantized = load_quantized(source, network) if checkpoint else _begun(network, recipe, options)
    floating, signature = test.followed("float", progress), network.signature
    reference = predict(network.module, floating, metric, signature=signature)

    def judged(what: str, quantized: Quantized) -> Evaluation:
        data = test.followed(what, progress)
        module = quantized.module
        return evaluate(module, data, metric, reference=reference, signature=signature)

    before = judged("quantized", quantized)
    kept = None if out is None else job.kept(quantized, out, note)
    trained = job.run(quantized, kept, progress)
    after = judged("trained", trained.quantized)
    if kept is not None:
        kept.finish(trained.quantized)
    warnings = (*network.warnings, *unlike, *images.warnings, *test.warnings)
    warnings = tuple(dict.fromkeys((*warnings, *quantized.diagnostics, *trained.diagnostics)))
    return Qat(
        network=network,
        source=source,
        trained=trained,
        images=images.source,
        test=test.source,
        floating=reference.evaluate(),
        before=before,
        after=after,
        seconds=perf_counter() - began,
        out=out,
        diagnostics=warnings,
    )


def _begun(network: Network, recipe: Recipe, options: WorkbenchOptions) -> Quantized:
    """The network quantized by a recipe."""
    count = options.calib_images
    images = calibration_images(network, options.data, options.seed, count)
    return quantize(network, recipe, images, Procedure(images=count))


def _loss(given: Any) -> Any:
    """A loss of the user's own. Raises E301, E403."""
    if given is None or callable(given):
        return given
    if ":" not in given:
        message = f"--loss is '{given}', and training takes a function"
        raise error("E403", message, "write --loss file.py:function, or leave it out")
    return load_function(given, "loss(outputs, batch), the mean over the rows, or one for each")


def _test(job: Job, options: WorkbenchOptions) -> Dataset:
    """What is named to test on, or the network's own; without either the validation images."""
    network, validation = job.network, job.split.validation
    if named := options.test or (network.spec.data if network.spec else ""):
        return test_images(network, None, named, options.seed)
    source = f"{len(validation):,} images by which the epoch was chosen, for want of --test"

    def stream() -> Iterator[Any]:
        return (batch for _, _, batch in validation.chunks(64))

    return Dataset("the validation images", source, len(validation), False, stream)
