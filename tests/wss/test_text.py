"""Masks from the names of the classes: how images and texts are compared, and the method as a whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_text_of import KINDS, saved_model
from tiny import TRAIN, Tiny
from torch import Tensor
from torch.nn import functional

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.annotation import read_tags
from dhr.disk.mask import read_mask
from dhr.disk.weights.model_folder import ModelFolder
from dhr.wss.image_text.load import load_model
from dhr.wss.image_text.model import ImageText
from dhr.wss.image_text.prompts import vectors_of
from dhr.wss.text import Comparison, TextRecipe

TEMPLATES = ("a photo of a {}.", "one {}")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: saved_model(tmp_path_factory.mktemp("models") / kind, kind) for kind in KINDS}


def loaded(folder: Path) -> ImageText:
    return load_model(ModelFolder(folder), through="value", precision="fp32")


def compared(folder: Path, table: str = "voc", **settings: Any) -> Comparison:
    plain: dict[str, Any] = {"templates": TEMPLATES, "background": ("sky", "grass"), "flip": False, **settings}
    return Comparison(TextRecipe(name=str(folder), **plain), ModelFolder(folder), load_classes(table))


def tags_of(table: str, *names: str) -> Tensor:
    classes = load_classes(table)
    return torch.tensor([float(name in names) for name in classes.names[classes.first_tag :]])


def pixels(height: int, width: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8))


def test_scores_equal_a_slow_reference(folders: dict[str, Path]) -> None:
    """An image of whole patches at its own size: the cosines with every text, cell by cell, then the soft-max."""
    image, factor = pixels(24, 40), 7.0
    made = compared(folders["clip"], logit_scale=factor).scores(
        image, tags_of("voc", "cat", "dog"), torch.device("cpu")
    )
    model = loaded(folders["clip"])
    texts = vectors_of(model, ["sky", "grass", "cat", "dog"], TEMPLATES)
    cells = model(image[None] / 255)[0]
    logits = torch.zeros(1, 3, 3, 5)
    for row in range(3):
        for column in range(5):
            sky, grass, cat, dog = (factor * float(cells[:, row, column] @ text) for text in texts)
            logits[0, :, row, column] = torch.tensor([max(sky, grass), cat, dog])
    large = functional.interpolate(logits, size=(24, 40), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(made, large.exp() / large.exp().sum(0), rtol=1e-4, atol=1e-5)


def test_the_factor_is_the_models_own_where_none_is_given(folders: dict[str, Path]) -> None:
    for kind in KINDS:
        model = loaded(folders[kind])
        own = 1 / model.layers.temperature if kind == "tipsv2" else model.layers.logit_scale.exp()
        given, stated = (
            compared(folders[kind], logit_scale=factor).scores(
                pixels(16, 24), tags_of("voc", "cat"), torch.device("cpu")
            )
            for factor in (None, float(own))
        )
        torch.testing.assert_close(given, stated)


def test_a_background_without_words_is_what_is_left(folders: dict[str, Path]) -> None:
    made = compared(folders["clip"], background=None, gamma=3.0).scores(
        pixels(24, 40), tags_of("voc", "cat", "dog"), torch.device("cpu")
    )
    assert made.shape == (3, 24, 40)
    assert made[1:].amin((1, 2)).tolist() == [0, 0] and made[1:].amax((1, 2)).tolist() == [1, 1]
    torch.testing.assert_close(made[0], (1 - torch.maximum(made[1], made[2])) ** 3)


@pytest.mark.parametrize("background", [("sky",), None])
def test_without_a_background_class_every_pixel_is_a_tag(folders: dict[str, Path], background: Any) -> None:
    """`sky` is a class of this data set, and no word for what it does not have."""
    tags = tags_of("context", "sky", "road", "tree")
    made = compared(folders["clip"], "context", background=background).scores(pixels(16, 24), tags, torch.device("cpu"))
    assert made.shape == (3, 16, 24)
    if background is not None:
        torch.testing.assert_close(made.sum(0), torch.ones(16, 24))


def test_scales_and_mirror_images_lie_on_the_image(folders: dict[str, Path]) -> None:
    """The scores of a mirrored image are those of the image, mirrored; sides need not be multiples of the patch."""
    image, tags, device = pixels(27, 45), tags_of("voc", "cat", "dog"), torch.device("cpu")
    both = compared(folders["siglip2"], scales=(1.0, 0.5, 1.7), flip=True)
    straight, mirrored = both.scores(image, tags, device), both.scores(image.flip(-1), tags, device)
    assert straight.shape == (3, 27, 45)
    torch.testing.assert_close(straight, mirrored.flip(-1), rtol=1e-4, atol=1e-5)


def test_a_class_among_the_words_for_the_background_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"wss\.recipe\.background: tv monitor: is a class of voc; leave it out"):
        _ = compared(folders["clip"], background=("sky", "tv monitor")).texts


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    made = Tiny(tmp_path_factory.mktemp("scenes"))
    made.call("prepare")
    return made


def words(folder: Path, *extra: str) -> tuple[str, ...]:
    return "train_wss", "wss=text", f"wss.recipe.name={folder}", "wss.recipe.scales=[1.0]", *extra


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_method(scenes: Tiny, tmp_path: Path, folders: dict[str, Path], kind: str) -> None:
    there = scenes.copy(tmp_path)
    there.call(*words(folders[kind]))
    made = sorted((there.root / "data" / "WSS" / "Toy" / "Text" / "train").glob("*.png"))
    assert len(made) == TRAIN
    names, found = load_classes("toy").names, set()
    for path in made:
        labels = {names[label] for label in np.unique(read_mask(path))}
        tags = read_tags(there.layout.tags("train", path.stem), names[1:])
        assert labels <= {"background", *tags}
        found |= labels
    assert len(found) > 2
    times = there.times()
    there.call(*words(folders[kind]))
    assert there.times() == times


def test_a_killed_call_goes_on_to_the_same_masks(scenes: Tiny, tmp_path: Path, folders: dict[str, Path]) -> None:
    there, masks = scenes.copy(tmp_path), tmp_path / "data" / "WSS" / "Toy" / "Text" / "train"
    there.call(*words(folders["clip"]))
    whole = {path.name: path.read_bytes() for path in masks.glob("*.png")}
    for name in sorted(whole)[::3]:
        (masks / name).unlink()
    there.call(*words(folders["clip"]))
    assert {path.name: path.read_bytes() for path in masks.glob("*.png")} == whole


def test_masks_of_another_model_are_not_mixed_in(scenes: Tiny, tmp_path: Path) -> None:
    """The folder has the same name, but other weights lie in it."""
    there, folder = scenes.copy(tmp_path), tmp_path / "model"
    saved_model(folder, "clip")
    there.call(*words(folder))
    saved_model(folder, "clip", seed=1)
    next((tmp_path / "data" / "WSS" / "Toy" / "Text" / "train").glob("*.png")).unlink()
    with pytest.raises(InputError, match="model"):
        there.call(*words(folder))
    there.call(*words(folder, "overwrite=true"))
