"""A trained network as an object, for programs: `dhr.load`. The pages of docs/python.md show it at work."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from dhr.config.check import check
from dhr.config.command import WRONG_CONFIG
from dhr.config.compose import compose
from dhr.config.exported import stated
from dhr.config.kinds import Section
from dhr.config.overrides import explain
from dhr.config.parts import check_signatures
from dhr.core.errors import InputError
from dhr.core.ranges import LongSide
from dhr.core.words import nearest, quoted
from dhr.crf.interface import naming_images
from dhr.dataset.classes import ClassTable
from dhr.disk.any_image import as_rgb, read_any_image
from dhr.disk.mask import write_mask
from dhr.disk.reading import BROKEN
from dhr.disk.weights.hub import local_weights
from dhr.evaluation.gallery import overlay
from dhr.network.predictor import Predictor
from dhr.network.shrunken import shrunk
from dhr.stage.predictor import predictor_of
from dhr.stage.source import Source

Picture = str | os.PathLike[str] | np.ndarray | Tensor | Image.Image


class Asked(Section):
    """What a single call may set."""

    longest: LongSide


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says of one image.

    Attributes:
        mask: (H,W) uint8 class indices.
        probabilities: (K,H,W) float32 of the network, before the CRF, summing to 1; tags do not change them. Of an
            image that was shrunken: (K,h,w) of the shrunken one.
        names: of the K classes, in the order of their indices.
        palette: an RGB colour for each class.
        pixels: (H,W,3) uint8, the image itself.
    """

    mask: np.ndarray
    probabilities: np.ndarray
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    pixels: np.ndarray

    def overlay(self) -> Image.Image:
        """The mask drawn over the image, as the report shows it."""
        return Image.fromarray(overlay(self.pixels, self.mask, self.palette))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the mask as a palette PNG of class indices, whole or not at all.

        Raises:
            InputError: the name does not end in .png, or the file cannot be written.
        """
        if Path(path).suffix.lower() != ".png":
            raise InputError(f"path: {path}: masks are PNGs; use {Path(path).with_suffix('.png')}")
        write_mask(Path(path), self.mask, self.palette)


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with its test-time augmentation and CRF.

    Attributes:
        table: names and colours of its classes.
        predictor: what brings pixels to a mask; `predictor.network` is the network itself, in eval mode.
    """

    table: ClassTable
    predictor: Predictor

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; a mask holds positions in them."""
        return self.table.names

    def predict(self, image: Picture, *, tags: Iterable[str] | None = None, longest: int | None = None) -> Prediction:
        """The mask of one image, which the network sees whole: large photographs need `longest`.

        Args:
            image: a file of any format that Pillow reads, upright as `dhr.predict images=` takes it; a picture
                of Pillow as its pixels lie; an (H,W,3) uint8 RGB array, or a (3,H,W) uint8 RGB tensor.
            tags: names of the classes that the mask may have beside the background; None: all.
            longest: a larger image is shrunken to so many pixels of its longer side before network and CRF; the mask
                has the size of the image all the same. None: as `dhr.load` was told.

        Raises:
            InputError: the image is none of these, there is no class of such a name, or `longest` is out of range.
        """
        pixels, allowed = pixels_of(image), None if tags is None else self._allowed(tags)
        name = str(image) if isinstance(image, str | os.PathLike) else "given"
        asked = {"longest": self.predictor.longest} if longest is None else check({"longest": longest}, Asked)
        seen = shrunk(pixels, asked["longest"])
        probabilities = self.predictor.probabilities(seen)
        with naming_images([name], self.predictor.cure):
            mask = self.predictor.refine(probabilities, seen, allowed, size=(pixels.shape[-2], pixels.shape[-1]))
        shown = pixels.permute(1, 2, 0).contiguous().numpy()
        return Prediction(mask.numpy(), probabilities.numpy(), self.names, self.table.palette, shown)

    def _allowed(self, tags: Iterable[str]) -> Tensor:
        if isinstance(tags, str):
            raise InputError(f"tags: {tags}: one text; write a list of names: tags=[{tags!r}]")
        allowed = torch.arange(self.table.num_classes) < self.table.first_tag
        for tag in tags:
            if tag not in self.names:
                raise InputError(
                    f"tags: {tag}: no such class; {nearest(tag, self.names)}known: {', '.join(self.names)}"
                )
            allowed[self.names.index(tag)] = True
        if not bool(allowed.any()):
            raise InputError(f"tags: []: {self.table.name} has no background, so a mask needs a class; name one")
        return allowed


def load(
    source: str | os.PathLike[str],
    *words: str,
    device: str | torch.device | None = None,
    config_dir: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Model:
    """A trained network, ready to predict; nothing is written and no data set is needed.

    Args:
        source: the folder of a finished run, or a file or folder that `dhr.export` wrote, also hf://owner/name. A file
            of weights of another program needs the words that say which network it is for: dataset="voc",
            backbone="resnet101", decoder="deeplabv3plus".
        *words: settings of `python -m dhr.predict`, written as there: "crf.iterations=5".
        device: of the network; None: a GPU where there is one, else the CPU.
        config_dir: a folder of YAML files of one's own, as --config-dir names it.
        **settings: the same settings by keyword: crf="none", scales=[0.5, 1.0], flip=False.

    Raises:
        InputError: there is no such run or file, its weights do not fit, or a setting is wrong.
    """
    cfg = _configured([*_place(source, settings), *words, *_typed(settings)], config_dir)
    check_signatures(cfg)
    found = Source.of(cfg)
    table = found.table()
    return Model(table, predictor_of(cfg, found, table, _device(device)))


def _device(given: str | torch.device | None) -> torch.device:
    if given is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=given)
    except (AssertionError, RuntimeError) as error:
        said = str(error).partition("\n")[0]
        raise InputError(f"device: {given}: cannot be used here ({said}); use cpu, or leave it out") from None
    return torch.device(given)


def pixels_of(image: Picture) -> Tensor:
    """(3,H,W) uint8 RGB of what `Model.predict` takes.

    Raises:
        InputError: it is something else, or has no pixel.
    """
    if isinstance(image, str | os.PathLike):
        return _channels_first(read_any_image(Path(image)))
    if isinstance(image, Image.Image):
        return _channels_first(_pixels_in(image))
    if isinstance(image, np.ndarray):
        sound, cure = image.dtype == np.uint8 and image.shape[2:] == (3,), "an array has to be uint8 of shape (H,W,3)"
    elif isinstance(image, Tensor):
        sound, cure = image.dtype == torch.uint8 and image.shape[:-2] == (3,), "a tensor has to be uint8 (3,H,W)"
    else:
        raise InputError(f"image: a {type(image).__name__}: use a path, an (H,W,3) array or a (3,H,W) tensor of uint8")
    if not sound or 0 in image.shape:
        raise InputError(f"image: {image.dtype} of shape {tuple(image.shape)}: {cure}, RGB from 0 to 255")
    return _channels_first(image) if isinstance(image, np.ndarray) else image.cpu()


def _pixels_in(picture: Image.Image) -> np.ndarray:
    try:
        return as_rgb(picture)
    except BROKEN as error:
        cure = "give its file, or an (H,W,3) array of uint8"
        raise InputError(f"image: a picture of mode {picture.mode}: not readable as RGB ({error}); {cure}") from None


def _channels_first(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1)))  # a copy: a decoded file may be read-only


def _configured(words: list[str], config_dir: str | os.PathLike[str] | None) -> DictConfig:
    try:
        cfg = compose("predict", words, folder=None if config_dir is None else os.path.abspath(config_dir))
    except WRONG_CONFIG as error:
        raise InputError(explain(error)) from None
    if "workers" in cfg.crf and not any(word.startswith("crf.workers=") for word in words):
        cfg.crf.workers = 0  # one image at a time: processes would only have to start
    return cfg


def _place(source: str | os.PathLike[str], settings: dict[str, Any]) -> list[str]:
    """The word that names the run or the file of weights."""
    text = os.fspath(source)
    weights = local_weights(text)
    if not weights.exists():
        raise InputError(f"source: {text}: no such folder or file; use the folder of a run, or a file of weights")
    if weights.is_dir():
        return [f"run={quoted(text)}"]
    if stated(weights) is None and "dataset" not in settings:
        cure = f'dhr.load({text!r}, dataset="voc", backbone="resnet101", decoder="deeplabv3plus")'
        raise InputError(f"source: {text}: does not say which network it is for; name it, as in {cure}")
    return [f"weights={quoted(str(weights))}"]


def _typed(settings: dict[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        yield f"{key}={_as_word(key, value)}"


def _as_word(key: str, value: Any) -> str:
    """A value as it is typed on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(_as_word(key, each) for each in value)}]"
    if isinstance(value, str | os.PathLike | int | float):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    raise InputError(f'{key}: a {type(value).__name__}: not a value to set; name single keys, as in "crf.iterations=5"')
