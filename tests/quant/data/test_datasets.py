"""Data sets: the shipped images, folders, the user's own batches, noise, and their mistakes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.data import datasets
from emqlang.quant.data.datasets import Dataset, example_of, load_data
from emqlang.quant.data.fashion_mnist import FashionMnist
from emqlang.quant.data.images import FASHION_MNIST, IMAGENET, ImageFormat, read_image
from emqlang.quant.data.loader import Wanted
from emqlang.quant.models import MODELS
from emqlang.quant.networks.batches import labels_of, rows
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.signature import Signature

TINY = ImageFormat((3, 8, 8), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), resize=10)


def picture(path: Path, size: tuple[int, int] = (20, 12), mode: str = "RGB", seed: int = 0) -> Path:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(("cat/a.png", "cat/b.png", "dog/c.png", "dog/deep/d.png")):
        picture(tmp_path / "images" / name, seed=i)
    (tmp_path / "images/dog/notes.txt").write_text("not an image")
    return tmp_path / "images"


def refusal(
    text: str, images: ImageFormat = TINY, classes: int = 2, **options: object
) -> tuple[str, str]:
    """Code and whole text of the error that a data set ends in, when it is opened or read."""
    with pytest.raises(EmqError) as caught:
        load_data(text, images, classes, **options).tensors()  # type: ignore[arg-type]
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.code, diagnostic.render()


def loader(tmp_path: Path, body: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(f"import torch\n{body}\n")
    return f"{path}:batches"


def same(a: Dataset, b: Dataset) -> bool:
    return a.fingerprint == b.fingerprint


# the shipped images


def test_shipped_calibration_images_are_drawn_by_the_seed() -> None:
    first = load_data("fashion-mnist", FASHION_MNIST, 10, count=64)
    images, labels = first.tensors()
    assert images.shape == (64, 1, 28, 28)
    assert images.dtype == torch.float32
    assert labels is not None
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) <= set(range(10))
    assert same(first, load_data("fashion-mnist", FASHION_MNIST, 10, count=64))
    assert not same(first, load_data("fashion-mnist", FASHION_MNIST, 10, count=64, seed=1))
    assert first.source == "Fashion-MNIST, 64 of 1,024 calibration images"


def test_the_shipped_test_set_is_whole_balanced_and_normalised() -> None:
    data = load_data("fashion-mnist", FASHION_MNIST, 10, split="test")
    images, labels = data.tensors()
    assert labels is not None
    assert labels.bincount().tolist() == [1000] * 10
    assert abs(images.mean().item()) < 0.01
    assert abs(images.std().item() - 1) < 0.01


def test_all_training_images_where_they_are_installed_and_else_those_that_are_shipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets, "DEBIAN_DIR", tmp_path / "missing")
    shipped = load_data("fashion-mnist", FASHION_MNIST, 10, split="training")
    assert shipped.count == 1024 and "dataset-fashion-mnist" in shipped.source
    images = torch.arange(5, dtype=torch.uint8)[:, None, None].expand(5, 28, 28)
    labels = torch.arange(5, dtype=torch.uint8)
    installed = FashionMnist(images, labels, images[:1], labels[:1], "0" * 64)
    monkeypatch.setattr(datasets, "DEBIAN_DIR", tmp_path)
    monkeypatch.setattr(datasets, "read_fashion_mnist", lambda folder: installed)
    whole = load_data("fashion-mnist", FASHION_MNIST, 10, split="training")
    assert whole.source == "Fashion-MNIST, 5 of 5 training images"
    assert whole.tensors()[1].tolist() == [0, 1, 2, 3, 4]


def test_shipped_images_are_refused_for_another_size_or_too_many() -> None:
    assert refusal("fashion-mnist", IMAGENET)[0] == "E304"
    code, text = refusal("fashion-mnist", FASHION_MNIST, 10, count=2000)
    assert code == "E304"
    assert "2,000 images are asked for, and there are 1,024" in text
    assert "--stat-images 1024" in text


def test_batches_are_cut_to_size_and_can_be_read_twice() -> None:
    data = load_data("fashion-mnist", FASHION_MNIST, 10, count=100)
    sizes = [len(images) for images, _ in data.batches(30)]
    assert sizes == [30, 30, 30, 10]
    assert sizes == [len(images) for images, _ in data.batches(30)]


# folders


def test_a_folder_gives_its_classes_in_sorted_order(folder: Path) -> None:
    images, labels = load_data(str(folder), TINY, 2).tensors()
    assert images.shape == (4, 3, 8, 8)
    assert labels is not None
    assert labels.tolist() == [0, 0, 1, 1]


def test_a_folder_named_by_number_needs_no_other_classes(folder: Path) -> None:
    (folder / "cat").rename(folder / "0007")
    (folder / "dog").rename(folder / "12")
    (folder / ".thumbnails").mkdir()
    labels = load_data(str(folder), TINY, 1000).tensors()[1]
    assert labels is not None
    assert labels.tolist() == [7, 7, 12, 12]


def test_a_folder_without_classes_has_no_labels(folder: Path) -> None:
    images, labels = load_data(str(folder / "cat"), TINY, 2).tensors()
    assert len(images) == 2
    assert labels is None


def test_a_subset_of_a_folder_is_drawn_by_the_seed(folder: Path) -> None:
    data = load_data(str(folder), TINY, 2, count=3, seed=5)
    whole, part = load_data(str(folder), TINY, 2).tensors()[0], data.tensors()[0]
    chosen = torch.randperm(4, generator=torch.Generator().manual_seed(5))[:3]
    assert torch.equal(whole[chosen], part)
    assert data.source == f"3 of 4 images in {folder}"


def test_preprocessing_resizes_the_shorter_side_and_crops_the_centre(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", size=(401, 300))
    got = read_image(path, IMAGENET)
    with Image.open(path) as file:
        resized = np.asarray(
            file.resize((342, 256), Image.Resampling.BILINEAR)
        )  # int(256 * 401 / 300) = 342
    assert np.array_equal(got.permute(1, 2, 0).numpy(), resized[16:240, 59:283])


def test_preprocessing_averages_when_it_shrinks(tmp_path: Path) -> None:
    stripes = np.zeros((160, 160, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert read_image(tmp_path / "stripes.png", TINY).float().std() < 5


def test_grey_networks_read_colour_and_colour_networks_read_grey(tmp_path: Path) -> None:
    assert read_image(picture(tmp_path / "rgb.png"), FASHION_MNIST).shape == (1, 28, 28)
    assert read_image(picture(tmp_path / "grey.png", mode="L"), TINY).shape == (3, 8, 8)


def test_normalising_takes_mean_and_std_out() -> None:
    pixels = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    assert torch.allclose(TINY.normalise(pixels), torch.full((1, 3, 2, 2), 2.0))


def test_a_file_may_have_a_name_that_is_no_text(folder: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/cat/\xff.png"))
    try:
        (folder / "cat" / "b.png").rename(path)
    except OSError:
        pytest.skip("this file system has no such names")
    images, labels = load_data(str(folder), TINY, 2).tensors()
    assert len(images) == 4 and labels is not None and sorted(labels.tolist()) == [0, 0, 1, 1]
    path.write_bytes(b"no image")
    assert refusal(str(folder))[0] == "E304"


def test_damaged_deep_and_elongated_images_name_their_file(folder: Path) -> None:
    bad = folder / "cat/a.png"
    bad.write_bytes(bad.read_bytes()[:200])
    code, text = refusal(str(folder))
    assert code == "E304"
    assert f" --> {bad}" in text
    bad.write_bytes(b"nothing of the kind")
    assert "cannot read this image" in refusal(str(folder))[1]
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(bad)
    assert "more than 8 bits" in refusal(str(folder))[1]
    Image.new("RGB", (60_000, 1)).save(bad)
    assert "too elongated" in refusal(str(folder), IMAGENET)[1]


def test_wrong_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    code, text = refusal(str(folder), classes=3)
    assert code == "E304"
    assert "there are 2 class folders, and the network has 3 classes" in text
    assert "name the folders by class number" in text
    assert refusal(str(folder), count=5)[0] == "E304"
    (tmp_path / "empty").mkdir()
    assert refusal(str(tmp_path / "empty"))[0] == "E304"
    code, text = refusal(str(tmp_path / "missing"))
    assert code == "E301"
    assert "noise:N" in text
    assert refusal(str(folder), ImageFormat.of((5, 8, 8)))[0] == "E304"
    assert refusal("a" * 5000)[0] == "E301"


# the user's own batches

FORMS = {
    "tensors": "batches = [torch.ones(3, 3, 8, 8), torch.zeros(2, 3, 8, 8)]",
    "tuples": """batches = [
    (torch.ones(3, 3, 8, 8), torch.tensor([0, 1, 0])),
    (torch.zeros(2, 3, 8, 8), torch.tensor([1, 1])),
]""",
    "dicts": """def batches():
    yield {'pixel_values': torch.ones(5, 3, 8, 8), 'label': torch.tensor([0, 1, 0, 1, 1])}""",
    "samples": "batches = [(torch.ones(3, 8, 8), y) for y in (0, 1, 0, 1, 1)]",
    "generator": """def batches():
    for y in (0, 1, 0, 1, 1):
        yield torch.ones(1, 3, 8, 8).half(), torch.tensor([y])""",
}


@pytest.mark.parametrize("form", FORMS)
def test_own_batches_come_in_every_form(form: str, tmp_path: Path) -> None:
    text = loader(tmp_path, FORMS[form])
    whole = load_data(text, TINY, 2).tensors()
    images, labels = tensors(whole)[0], labels_of(whole)
    assert images.shape == (5, 3, 8, 8)
    assert images.dtype == (torch.float16 if form == "generator" else torch.float32)
    assert (
        labels is None
        if form == "tensors"
        else labels is not None and labels.tolist() == [0, 1, 0, 1, 1]
    )
    assert rows(load_data(text, TINY, 2, count=4).tensors()) == 4


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float16", "float64"])
def test_own_batches_stay_what_they_are(dtype: str, tmp_path: Path) -> None:
    body = f"""
def batches():
    for size in (3, 2):
        x = (torch.arange(size * 4) % 2).reshape(size, 4).to(torch.{dtype})
        yield {{'x': x, 'more': [torch.ones(size), (torch.zeros(7),)], 'y': torch.arange(size) / 2}}
"""
    data = load_data(loader(tmp_path, body), ImageFormat.of((4,)), 2)
    first, last = data.batches()
    assert first["x"].dtype == getattr(torch, dtype) and first["x"].tolist() == [[0, 1, 0, 1]] * 3
    assert first["more"][1][0].shape == (7,) and last["more"][0].shape == (2,)
    whole = data.tensors()
    assert whole["x"].shape == (5, 4) and whole["more"][1][0].shape == (7,)
    halves = [half.tensors() for half in data.halves(0)]
    assert [len(half["x"]) for half in halves] == [2, 3]
    assert torch.equal(torch.cat([half["y"] for half in halves]).sort()[0], whole["y"].sort()[0])


def test_own_batches_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_images.py").write_text("import torch\nbatches = [torch.ones(2, 3, 8, 8)]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        load_data("my_images:batches", TINY, 2, count=2).source == "2 images of my_images:batches"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("batches = [torch.ones(2, 3, 9, 8)]", "are 2x3x9x8, and the network takes Nx3x8x8"),
        ("batches = [torch.full((2, 3, 8, 8), torch.nan)]", "values that are not finite"),
        ("batches = [[]]", "is empty"),
        ("batches = [{'label': 1}]", "holds no tensor of inputs"),
        ("batches = ['hello']", "holds no tensor of inputs, but a str"),
        (
            "batches = [(torch.ones(2, 3, 8, 8), torch.tensor([0]))]",
            "labels of batch 0 of {} have shape (1,), and it has 2 rows",
        ),
        ("batches = [torch.ones(2, 3, 8, 8, device='meta')]", "on the device 'meta'"),
        ("batches = [torch.ones(0, 3, 8, 8)]", "has no rows"),
        (
            "batches = [(torch.ones(2, 3, 8, 8), [0, 1]), torch.ones(2, 3, 8, 8)]",
            "are a list, not a tensor",
        ),
        (
            "batches = [(torch.ones(1, 3, 8, 8), 0), torch.ones(2, 3, 8, 8)]",
            "lacks labels, unlike those before",
        ),
        ("batches = torch.ones(2, 3, 8, 8), torch.ones(2)", "a tuple of 2 tensors: one batch"),
        ("batches = []", "there are 0"),
        ("batches = 3", "'int' object is not iterable"),
        (
            "def batches():\n    yield torch.ones(1, 3, 8, 8)\n    raise KeyError('lost')",
            "failed: KeyError: 'lost'",
        ),
    ],
)
def test_own_batches_that_do_not_fit_are_refused(body: str, message: str, tmp_path: Path) -> None:
    place = loader(tmp_path, body)
    code, text = refusal(place, count=2)
    assert code == "E304"
    assert message.format(place) in text


@pytest.mark.parametrize(
    ("example", "given", "message"),
    [
        (
            torch.ones(1, 4),
            "ones(8, 4, dtype=torch.uint8)",
            "torch.uint8, and the network takes torch",
        ),
        (
            torch.ones(1, 4),
            "ones(8, 4).double()",
            "torch.float64, and the network takes",
        ),
        (
            torch.ones(1, 4).half(),
            "ones(8, 4)",
            "and the network takes torch.float16",
        ),
        (torch.ones(1, 4).long(), "ones(8, 4)", "torch.float32, and the network takes torch.int64"),
        (torch.ones(1, 4).long(), "ones(8, 4, 2).long()", "8x4x2, and the network takes Nx4"),
        (torch.ones(1, 4), "ones(8, 5)", "8x5, and the network takes Nx4"),
        (torch.ones(1, 4).long(), "ones(8, 9).int()", ""),  # texts are of any length
    ],
)
def test_own_batches_are_held_against_the_networks_example(
    example: Tensor, given: str, message: str, tmp_path: Path
) -> None:
    text = loader(tmp_path, f"batches = [torch.{given}]")
    wanted = Wanted((4,), example)
    if not message:
        assert load_data(text, ImageFormat.of((4,)), 2, wanted=wanted).tensors().shape == (8, 9)
        return
    code, said = refusal(text, ImageFormat.of((4,)), wanted=wanted)
    assert code == "E304" and message in said


@pytest.mark.parametrize("option", ["--calib-images", "--stat-images", "images="])
def test_too_few_images_name_the_option_that_asked(option: str, tmp_path: Path) -> None:
    text = loader(tmp_path, "batches = [torch.ones(3, 3, 8, 8)]")
    assert f"ask for fewer: {option}" in refusal(text, count=4, option=option)[1]
    shipped = refusal("fashion-mnist", FASHION_MNIST, 10, count=2000, option=option)
    assert f"ask for fewer: {option}" in shipped[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module_here:batches", "No module named"),
        ("{}/none.py:batches", "there is no such file"),
        ("{}/mine.py:batch", "did you mean 'batches'?"),
        ("{}/broken.py:batches", "importing the file failed: ZeroDivisionError"),
        (":batches", "not of the form"),
    ],
)
def test_loaders_that_cannot_be_found_are_refused(text: str, message: str, tmp_path: Path) -> None:
    loader(tmp_path, "batches = []")
    (tmp_path / "broken.py").write_text("1 / 0")
    code, rendered = refusal(text.format(tmp_path))
    assert code == "E301"
    assert message in rendered


# noise


def test_noise_carries_the_networks_own_labels_and_says_so() -> None:
    spec = MODELS["resnet18-fmnist"]
    net = spec.build(seed=1)
    data = load_data("noise:70", spec.images, spec.classes, seed=2, net=net)
    images, labels = data.tensors()
    assert images.shape == (70, 1, 28, 28)
    assert abs(images.std().item() - 1) < 0.02
    with torch.inference_mode():
        assert labels is not None
        assert torch.equal(labels, net(images).argmax(1))
    assert [warning.code for warning in data.warnings] == ["W607"]
    assert data.source.startswith("noise: 70 ")
    assert same(data, load_data("noise:70", spec.images, spec.classes, seed=2, net=net))


def test_noise_without_a_network_has_no_labels() -> None:
    data = load_data("noise:2", FASHION_MNIST, 10)
    assert data.tensors()[1] is None and "labels" not in data.source


def test_noise_with_a_network_that_fails_is_refused() -> None:
    assert refusal("noise:2", net=torch.nn.Conv2d(5, 2, 3))[0] == "E308"


@pytest.mark.parametrize("text", ["noise:", "noise:0", "noise:-3", "noise:many"])
def test_noise_needs_a_number(text: str) -> None:
    assert refusal(text)[0] == "E403"


def test_a_loader_must_give_the_same_images_in_every_pass(tmp_path: Path) -> None:
    """Figures of one pass are held against those of another, image by image."""
    body = """
def batches(x=torch.arange(6 * 192.0).reshape(6, 3, 8, 8)):
    for rows in torch.randperm(6).split(2): yield x[rows]

def steady(x=torch.arange(6 * 192.0).reshape(6, 3, 8, 8)):
    for rows in torch.arange(6).split(2): yield x[rows]

def shorter(lengths=[3, 2]):
    for row in range(lengths.pop(0)): yield torch.full((1, 3, 8, 8), float(row))
"""
    place = loader(tmp_path, body)
    torch.manual_seed(0)
    for name in ("batches", "shorter"):
        data = load_data(place.replace(":batches", f":{name}"), TINY, 2)
        data.tensors()
        with pytest.raises(EmqError, match="other images each time"):
            data.tensors()
    steady = load_data(place.replace(":batches", ":steady"), TINY, 2)
    next(steady.batches())  # a pass that is left early
    assert torch.equal(steady.tensors()[0], steady.tensors()[0])


@pytest.mark.parametrize(
    "number", ["", "0", "-1", "1e3", "\N{ARABIC-INDIC DIGIT THREE}", "9" * 10, "9" * 30, "9" * 5000]
)
def test_noise_takes_a_number_that_fits_into_memory(number: str) -> None:
    with pytest.raises(EmqError) as caught:
        load_data(f"noise:{number}", FASHION_MNIST, 10, net=torch.nn.Flatten())
    assert caught.value.diagnostics[0].code == "E403"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("batches = iter([torch.ones(3, 4)])", "only once: it is a list_iterator"),
        ("batches = []", "gives no batches"),
        ("batches = [None]", "batch 0 of {} holds no tensor of inputs, but a NoneType"),
        ("import numpy\nbatches = [(numpy.ones((2, 4)), 1)]", "torch.as_tensor"),
    ],
)
def test_an_example_of_what_holds_none_says_why(body: str, message: str, tmp_path: Path) -> None:
    place = loader(tmp_path, body)
    with pytest.raises(EmqError) as caught:
        example_of(place, Signature())
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E304" and message.format(place) in diagnostic.render()


@pytest.mark.parametrize(
    ("mask", "message"),
    [("float()", ""), ("double()", "torch.float64, and the network takes")],
)
def test_inputs_by_keyword_are_held_against_those_of_the_example(
    mask: str, message: str, tmp_path: Path
) -> None:
    class Masked(nn.Module):
        def forward(self, ids: Tensor, mask: Tensor | None = None, kind: Any = None) -> Any:
            return ids, mask, kind

    ids = torch.ones(1, 4, dtype=torch.long)
    wanted = Wanted((4,), {"ids": ids, "mask": ids.float()}, Signature.of(Masked()))
    body = "ids = torch.ones(8, 4, dtype=torch.long)\nbatches = [dict(ids=ids, kind=ids, mask=ids."
    text = loader(tmp_path, f"{body}{mask})]")
    form = ImageFormat.of((4,))
    if message:
        assert message in refusal(text, form, wanted=wanted)[1]
    else:
        assert load_data(text, form, 2, wanted=wanted).tensors()["kind"].shape == (8, 4)


def test_a_network_may_take_numbers_and_not_images() -> None:
    assert ImageFormat.of(()).size == "one number"


def test_a_function_must_make_its_batches_anew(tmp_path: Path) -> None:
    body = "left = iter([torch.ones(3, 4)] * 3)\ndef batches(): return left"
    place = loader(tmp_path, body)
    example_of(place, Signature())
    assert "returns the same list_iterator each time" in refusal(place, ImageFormat.of((4,)))[1]


def test_an_image_beside_a_number_is_an_example_as_it_is(tmp_path: Path) -> None:
    class Timed(nn.Module):
        def forward(self, x: Tensor, t: float) -> Tensor:
            return x * t

    place = loader(tmp_path, "batches = [dict(x=torch.ones(3, 4), t=2.0, y=torch.ones(3))]")
    assert example_of(place, Signature.of(Timed()))["t"] == 2.0
    assert example_of(place, Signature.of(nn.Identity())) == torch.Size([4])


def test_a_fingerprint_is_of_names_and_numbers_too(tmp_path: Path) -> None:
    x = "torch.ones(3, 4)"
    batches = [f"dict(x={x})", f"dict(x={x}, t=1)", f"dict(x={x}, t=2)", f"dict(x={x}, s=2)"]
    batches += [f"dict(a={x}, b={x})", f"dict(a={x}, c={x})"]
    found = set()
    for number, batch in enumerate(batches):
        folder = tmp_path / str(number)
        folder.mkdir()
        place = loader(folder, f"batches = [{batch}]")
        found.add(load_data(place, ImageFormat.of((4,)), 2, wanted=Wanted((4,))).fingerprint)
    assert len(found) == len(batches)


def test_what_has_been_given_is_followed(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    place = loader(tmp_path, "batches = [torch.ones(70, 3, 8, 8), torch.ones(5, 3, 8, 8)]")
    data = load_data(place, TINY, 2)
    given = list(data.followed("float", lambda *told: heard.append(told)))
    assert [len(batch) for batch in given] == [64, 6, 5]
    assert heard == [("float", 64, 0), ("float", 70, 0), ("float", 75, 0)]
