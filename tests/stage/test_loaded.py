"""`dhr.load`: the masks of `dhr.predict` for programs, and what a program can do wrong."""

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_pictures import deep, saved, turned
from pages import run_examples
from PIL import Image
from safetensors.torch import load_file, save_file
from small_networks import expected, relative_error, released
from tiny import NETWORK, Tiny, environment
from untrained import SMALL, untrained_run

import dhr
from dhr.core.cells import CornerCells
from dhr.core.errors import InputError
from dhr.disk.any_image import read_any_image
from dhr.disk.layout import RunFolder
from dhr.disk.mask import read_mask
from dhr.disk.weights.state import read_checkpoint
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.released_names import to_released

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return untrained_run(tmp_path_factory.mktemp("run") / "mine")


@pytest.fixture(scope="module")
def model(run: RunFolder) -> "dhr.Model":
    return dhr.load(run.root, device="cpu")


def photograph(height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_import_dhr_costs_nothing() -> None:
    code = "import sys, dhr; print(sorted({'torch', 'numpy', 'hydra'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and dhr.load.__module__ == "dhr.stage.loaded"
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = dhr.laod


@pytest.mark.parametrize(("crf", "precision"), [("none", "fp32"), ("pydensecrf", "fp32"), ("none", "bf16")])
def test_the_masks_are_those_of_predict(tiny: Tiny, tmp_path: Path, crf: str, precision: str) -> None:
    run = untrained_run(tmp_path / "outputs" / "toy" / "runs" / "mine", *SMALL)
    extra = ("crf.workers=0",) if crf != "none" else ()
    tiny.call("predict", f"run={run.root}", f"crf={crf}", f"precision={precision}", *extra)
    model = dhr.load(run.root, crf=crf, precision=precision)
    for path in sorted(run.masks("validation").glob("*.png")):
        found = model.predict(tiny.layout.image("validation", path.stem))
        np.testing.assert_array_equal(found.mask, read_mask(path))


def test_half_precision_rounds_the_network_alone(model: "dhr.Model", run: RunFolder) -> None:
    half, image = dhr.load(run.root, device="cpu", precision="bf16"), photograph()
    found, due = half.predict(image).probabilities, model.predict(image).probabilities
    assert found.dtype == np.float32 and not np.array_equal(found, due)
    np.testing.assert_allclose(found, due, atol=0.01)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)  # sums of bfloat16 would be off by a hundredth


def test_numbers_too_large_for_half_precision_are_named_with_its_cure(run: RunFolder) -> None:
    whole, half = (dhr.load(run.root, device="cpu", precision=precision, crf="none") for precision in ("fp32", "fp16"))
    for model in (whole, half):
        first = next(each for each in model.predictor.network.modules() if isinstance(each, torch.nn.Conv2d))
        first.weight.data.mul_(1e6)  # fp16 ends at 65504
    assert np.isfinite(whole.predict(photograph()).probabilities).all()
    with pytest.raises(InputError, match="image given: .*NaN.*; try precision=fp32; are these weights sound"):
        half.predict(photograph())


def test_every_way_to_give_an_image_says_the_same(model: "dhr.Model", tmp_path: Path) -> None:
    array = photograph()
    Image.fromarray(array).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    given: list[Any] = [
        array, Image.fromarray(array), torch.from_numpy(array).permute(2, 0, 1), path, str(path),
    ]  # fmt: skip
    first, *others = (model.predict(image) for image in given)
    assert first.mask.shape == (40, 56) and first.mask.dtype == np.uint8
    assert first.probabilities.shape == (len(model.names), 40, 56) and first.probabilities.dtype == np.float32
    np.testing.assert_allclose(first.probabilities.sum(0), 1, atol=1e-5)
    assert first.names == model.names and first.names[0] == "background"
    np.testing.assert_array_equal(first.pixels, array)
    for other in others:
        np.testing.assert_array_equal(other.probabilities, first.probabilities)
        np.testing.assert_array_equal(other.mask, first.mask)


FILES = {
    "turned.jpg": turned(),
    "cmyk.jpg": saved("JPEG", "CMYK"),
    "deep.png": deep(),
    "alpha.webp": saved("WEBP", "RGBA"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_predict_reads_images(model: "dhr.Model", tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    found = model.predict(tmp_path / name)
    np.testing.assert_array_equal(found.pixels, read_any_image(tmp_path / name))
    assert found.mask.shape == ((30, 20) if name.startswith("turned") else (20, 30))


def test_a_picture_is_taken_as_its_pixels_lie(model: "dhr.Model") -> None:
    assert model.predict(Image.open(io.BytesIO(turned()))).mask.shape == (20, 30)
    assert model.predict(Image.new("RGBA", (4, 3))).pixels.min() == 255
    assert model.predict(Image.fromarray(np.full((3, 4), 257 * 9, np.uint16))).pixels.max() == 9
    with pytest.raises(InputError, match=r"image: a picture of mode RGB: not readable as RGB \(.*trunc"):
        model.predict(Image.open(io.BytesIO(saved("JPEG", size=(300, 200))[:4000])))


def test_tags_restrict_the_mask_to_the_likeliest_of_them(model: "dhr.Model") -> None:
    whole = model.predict(photograph())
    for tags in ([], [model.names[3]], [model.names[1], model.names[2]]):
        found = model.predict(photograph(), tags=tags)
        kept = [0, *(model.names.index(tag) for tag in tags)]
        np.testing.assert_array_equal(found.mask, np.array(kept)[whole.probabilities[kept].argmax(0)])
        np.testing.assert_array_equal(found.probabilities, whole.probabilities)


def test_a_large_photograph_is_shrunken_for_the_network(model: "dhr.Model", run: RunFolder, tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(photograph()).resize((560, 400)))
    found = model.predict(large, longest=56, tags=[model.names[3]])
    assert found.mask.shape == (400, 560) and found.probabilities.shape == (len(model.names), 40, 56)
    assert {*found.mask.flat} <= {0, 3} and found.overlay().size == (560, 400)
    always = dhr.load(run.root, longest=56, device="cpu").predict(large, tags=[model.names[3]])
    np.testing.assert_array_equal(always.mask, found.mask)
    Image.fromarray(large).save(tmp_path / "large.png")
    words = (
        f"run={run.root}",
        f"images={tmp_path / 'large.png'}",
        "longest=56",
        "soft=true",
        f"output={tmp_path / 'out'}",
    )
    Tiny(tmp_path).call("predict", *words)
    np.testing.assert_array_equal(read_mask(tmp_path / "out/masks/large.png"), model.predict(large, longest=56).mask)
    assert load_file(tmp_path / "out/soft/large.safetensors")["probabilities"].shape == found.probabilities.shape
    with pytest.raises(InputError, match=r"other settings \(longest"):
        Tiny(tmp_path).call("predict", *words, "longest=50")
    for wrong in (7, 0, "many", 1.5):
        with pytest.raises(InputError, match=rf"longest: {wrong}: .*8"):
            model.predict(large, longest=wrong)


def test_a_prediction_is_drawn_and_saved(model: "dhr.Model", tmp_path: Path) -> None:
    found = model.predict(photograph())
    assert found.overlay().size == (56, 40)
    found.save(tmp_path / "new" / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "a.png"), found.mask)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.getpalette()[: 3 * len(found.palette)] == [value for colour in found.palette for value in colour]
    with pytest.raises(InputError, match=r"path: a.jpg: masks are PNGs; use a.png"):
        found.save("a.jpg")


def test_weights_need_the_words_of_their_network(run: RunFolder, tmp_path: Path) -> None:
    state = read_checkpoint(run.last)["state_dict"]
    weights = {name.removeprefix("network."): value.contiguous() for name, value in state.items()}
    save_file(weights, tmp_path / "a b.safetensors")
    found = dhr.load(tmp_path / "a b.safetensors", *NETWORK, dataset="toy", crf="none", scales=[1.0], flip=True)
    expected = dhr.load(run.root).predict(photograph())
    np.testing.assert_array_equal(found.predict(photograph()).probabilities, expected.probabilities)
    with pytest.raises(InputError, match=r"does not say which network it is for; .*dataset=\"voc\""):
        dhr.load(tmp_path / "a b.safetensors")
    with pytest.raises(InputError, match="does not fit this network"):
        dhr.load(tmp_path / "a b.safetensors", dataset="toy")


def test_released_weights_are_those_of_predict(tmp_path: Path) -> None:
    """Under the released names, which put the cells of the logits elsewhere, `.pth` as they are handed out."""
    run = untrained_run(tmp_path / "mine")
    weights = {name.removeprefix("network."): value for name, value in read_checkpoint(run.last)["state_dict"].items()}
    torch.save(to_released(weights), tmp_path / "released.pth")
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    words = (*NETWORK, "crf=none", "scales=[0.5,1.0]")
    model = dhr.load(tmp_path / "released.pth", *words, dataset="toy")
    assert model.predictor.network.cells == CornerCells()
    output = (f"images={tmp_path / 'a.png'}", f"output={tmp_path / 'out'}")
    Tiny(tmp_path).call("predict", f"weights={tmp_path / 'released.pth'}", "dataset=toy", *words, *output)
    np.testing.assert_array_equal(
        model.predict(tmp_path / "a.png").mask, read_mask(tmp_path / "out" / "masks" / "a.png")
    )


@pytest.mark.slow
def test_the_official_checkpoint(shared: Path, tmp_path: Path) -> None:
    """The name of the data set is all that has to be said."""
    torch.save(released(shared, "dhr_resnet101_voc"), tmp_path / "voc.pth")
    model, due = dhr.load(tmp_path / "voc.pth", dataset="voc", crf="none"), expected(shared, "dhr_resnet101_voc")
    assert model.predictor.scales == (1.0, 0.5, 1.5, 2.0) and model.names[15] == "person"
    found = multi_scale_probabilities(
        model.predictor.network, torch.from_numpy(due["image"])[0], scales=model.predictor.scales, flip=True
    )
    assert relative_error(found, due["multiscale_probabilities"]) < 1e-4
    assert model.predict(photograph()).mask.shape == (40, 56)


def test_a_run_knows_the_order_of_its_classes(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "mine")
    text = run.record.read_text()
    first, second = dhr.load(run.root).names[1:3]
    swapped = text.replace(f'"{first}"', '"x"').replace(f'"{second}"', f'"{first}"')
    run.record.write_text(swapped.replace('"x"', f'"{second}"'))
    assert dhr.load(run.root).names[1:3] == (second, first)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((4, 4), np.uint8), "uint8 of shape (4, 4): an array has to be uint8 of shape (H,W,3)"),
        (np.zeros((3, 4, 4), np.uint8), "uint8 of shape (3, 4, 4): an array has to be uint8 of shape (H,W,3)"),
        (np.zeros((4, 4, 3), np.float32), "float32 of shape (4, 4, 3)"),
        (np.zeros((0, 4, 3), np.uint8), "uint8 of shape (0, 4, 3)"),
        (torch.zeros(3, 4, 4), "torch.float32 of shape (3, 4, 4): a tensor has to be uint8 (3,H,W)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "a tensor has to be uint8 (3,H,W)"),
        ([1, 2], "image: a list: use a path"),
        ("missing.jpg", "missing.jpg"),
        (__file__, "of no format that is read here"),
    ],
)
def test_what_is_no_image(model: "dhr.Model", image: Any, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        model.predict(image)


def test_wrong_tags(model: "dhr.Model") -> None:
    with pytest.raises(InputError, match=rf"tags: {model.names[1]}: one text; write a list"):
        model.predict(photograph(), tags=model.names[1])
    with pytest.raises(InputError, match=rf"tags: {model.names[1]}x: no such class; did you mean {model.names[1]}\?"):
        model.predict(photograph(), tags=[f"{model.names[1]}x"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scale": [1.0]}, "scale: [1.0]: unknown key; did you mean scales?"),
        ({"flip": 3}, "flip: 3: does not fit here; allowed is true or false"),
        ({"scales": [-1.0]}, "scales: [-1.0]: out of range"),
        ({"crf": "nine"}, "crf"),
        ({"crf": {"iterations": 3}}, "crf: a dict: not a value to set"),
        ({"backbone": "resnet101"}, "backbone: resnet101: is stored in the run"),
    ],
)
def test_wrong_settings(run: RunFolder, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        dhr.load(run.root, **settings)


def test_what_is_no_device(run: RunFolder) -> None:
    with pytest.raises(InputError, match="device: gpu: cannot be used here"):
        dhr.load(run.root, device="gpu")


def test_what_is_no_source(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="weights: a.pt2: is not opened here, since torch might run code that is in it"
    ):
        dhr.load("a.pt2")
    with pytest.raises(InputError, match="source: nowhere: no such folder or file"):
        dhr.load("nowhere")
    with pytest.raises(InputError, match="not the folder of a run"):
        dhr.load(tmp_path)


def test_the_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    untrained_run(Path("outputs/toy/runs/mine"))
    Image.fromarray(photograph(48, 64)).save("a.jpg")
    run_examples(ROOT / "docs" / "python.md")
    assert {path.name for path in tmp_path.iterdir()} == {"a.jpg", "outputs", "overlay.png", "mask.png"}
