"""Lines 4 to 7: predict, evaluate, the loader and the start of a command, each against its bare operations."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from evaluate_memory import predicted
from measuring import Row, best_of, photographs
from PIL import Image
from relabel import crf_of
from torchvision.transforms.v2 import functional

from dhr.config.compose import compose
from dhr.core.colour import jitter, normalise
from dhr.core.labels import IGNORE
from dhr.core.sample import LoadedBatch
from dhr.core.window import Window
from dhr.dataset.classes import load_classes
from dhr.dataset.split import MaskFolder, Split, TrainDataset
from dhr.dataset.transforms import TrainTransform
from dhr.disk.annotation import tags_text
from dhr.disk.atomic import write_atomically
from dhr.disk.layout import DataLayout
from dhr.disk.mask import read_mask, write_mask
from dhr.evaluation.counts import SplitCounts
from dhr.network.predictor import Predictor
from dhr.runtime.pools import cores
from dhr.stage.evaluate import Scored, count_into
from dhr.stage.parts import build_network

TABLE = load_classes("voc")
BATCH = 16  # of the published recipe


def make_split(root: Path, images: int) -> Split:
    """A split `train` of photographs of VOC's size with masks and tags."""
    layout = DataLayout(root, "VOC2012")
    pixels, masks = photographs(24, 500)
    for number in range(images):
        image_id = f"2007_{number:06d}"
        image, mask = pixels[number % 24, :, :375].permute(1, 2, 0).numpy(), masks[number % 24, :375].numpy()
        path = layout.split("train") / "image" / f"{image_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=90)
        write_mask(layout.mask("train", image_id), mask, TABLE.palette)
        tags = [TABLE.names[label] for label in np.unique(mask) if 0 < label < 255]
        write_atomically(layout.tags("train", image_id), tags_text(image_id, mask.shape, tags), durable=False)
    return Split.open(layout, "train", TABLE)


def predict(split: Split, images: int) -> list[Row]:
    """Wall time of network and CRF together against their core-seconds shared out over the cores."""
    cfg = compose("train", ["dataset=voc", "backbone=resnet18", "backbone.weights=null"])
    network = build_network(cfg, TABLE).eval()
    ids = [split.id(number) for number in range(images)]

    def predictor(workers: int) -> Predictor:
        return Predictor(
            network=network,
            crf=crf_of("native", f"crf.workers={workers}"),
            scales=(1.0,),
            flip=False,
            minimum_probability=0.0,
            device=torch.device("cpu"),
        )

    alone, together = predictor(0), predictor(cores())
    alone.refine(torch.rand(3, 32, 32), split.pixels(ids[0])[:, :32, :32])
    torch.set_num_threads(1)
    start = time.perf_counter()
    maps = [alone.probabilities(split.pixels(image_id)) for image_id in ids]
    network_seconds = time.perf_counter() - start
    start = time.perf_counter()
    for image_id, each in zip(ids, maps, strict=True):
        alone.refine(each, split.pixels(image_id))
    crf_seconds = time.perf_counter() - start
    torch.set_num_threads(cores())
    start = time.perf_counter()
    done = list(together.masks((image_id, split.pixels(image_id), None) for image_id in ids))
    wall = time.perf_counter() - start
    ideal = (network_seconds + crf_seconds) / cores()
    detail = (
        f"{len(done)} images: network {network_seconds:.1f} s, CRF {crf_seconds:.1f} s on one core, wall {wall:.1f} s"
    )
    return [
        Row(4, "predict / (network + CRF core-seconds) / cores", wall / ideal, "<= 1.15", wall <= 1.15 * ideal, detail)
    ]


def evaluate(split: Split, rounds: int) -> list[Row]:
    """The scoring loop against decoding the same pairs with Pillow in as many threads; its start by itself."""
    ids = [split.id(number) for number in range(len(split))]
    folder = split.layout.split("train") / "predictions"
    for image_id in ids:
        write_mask(
            folder / f"{image_id}.png", predicted(read_mask(split.layout.mask("train", image_id))), TABLE.palette
        )

    def decode(image_id: str) -> None:
        for path in (folder / f"{image_id}.png", split.layout.mask("train", image_id)):
            np.asarray(Image.open(path))

    def decoding() -> None:
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(decode, ids))

    def scoring() -> None:
        for _ in count_into(SplitCounts(TABLE.num_classes), Scored(split, folder), ids):
            pass

    plain, whole = best_of(rounds, decoding, scoring)
    detail = f"{len(ids)} pairs, {cores()} threads each: decoding {plain:.2f} s, scoring {whole:.2f} s"
    command = [sys.executable, "-c", "import dhr.stage.evaluate"]
    start = best_of(rounds, lambda: subprocess.run(command, check=True))[0]
    return [
        Row(5, "evaluate / decoding with Pillow", whole / plain, "<= 1.25", whole <= 1.25 * plain, detail),
        Row(5, "start of evaluate, seconds", start, "", None, "imports; not in the line above"),
    ]


def loader(split: Split, rounds: int) -> list[Row]:
    """A training sample against its bare operations, and a worker's batches against JPEG decoding alone; one thread."""
    torch.set_num_threads(1)
    transform = TrainTransform(512, (320, 640), 0.5, (0.3, 0.3, 0.3, 0.1))
    folder = MaskFolder(split.layout.split("train") / "mask", TABLE.num_classes)
    data = TrainDataset(split, np.arange(len(split)), folder, None, (64, 64), transform, 1)
    count = min(len(split), 128)
    windows = {split.id(number): data[(0, number)].window for number in range(count)}
    parts = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]

    def decode(image_id: str) -> None:
        np.asarray(Image.open(split.layout.image("train", image_id)))

    def batch_of(part: range) -> LoadedBatch:
        return LoadedBatch.stack([data[(0, number)] for number in part])

    times = best_of(
        rounds,
        lambda: _each(decode, windows),
        lambda: _each(lambda image_id: _bare_sample(split, image_id, windows[image_id]), windows),
        lambda: _each(lambda number: data[(0, number)], range(count)),
        lambda: _each(batch_of, parts),
    )
    decoding, plain, sample, stacked = (seconds / count for seconds in times)
    each = f"per sample: JPEG {_ms(decoding)}, bare {_ms(plain)}, whole {_ms(sample)}, in a batch {_ms(stacked)}"
    return [
        Row(6, "sample / its bare operations", sample / plain, "<= 1.25", sample <= 1.25 * plain, each),
        Row(
            6, "samples/s in batches by JPEG decoding", decoding / stacked, ">= 0.35", decoding >= 0.35 * stacked, each
        ),
        _colours(batch_of(parts[0]), decoding, rounds),
    ]


def _each(work: Callable[[Any], object], items: Iterable[Any]) -> None:
    for item in items:
        work(item)


def _bare_sample(split: Split, image_id: str, window: Window) -> None:
    """What a sample is made of, as plain calls of the libraries: decoding, tags, resize, flip, cut, padding."""
    ElementTree.parse(split.layout.tags("train", image_id))
    image = torch.from_numpy(np.array(Image.open(split.layout.image("train", image_id)))).permute(2, 0, 1)
    mask = torch.from_numpy(np.array(Image.open(split.layout.mask("train", image_id))))[None]
    image = functional.resize(image, list(window.scaled), functional.InterpolationMode.BICUBIC, antialias=True)
    mask = functional.resize(mask, list(window.scaled), functional.InterpolationMode.NEAREST_EXACT)
    rows, columns = window.box
    padding = [columns.start, rows.start, window.canvas[1] - columns.stop, window.canvas[0] - rows.stop]
    for picture, fill in ((image, 0), (mask, IGNORE)):
        turned = functional.horizontal_flip(picture) if window.flip else picture
        functional.pad(functional.crop(turned, *window.source), padding, fill=fill)


def _colours(batch: LoadedBatch, decoding: float, rounds: int) -> Row:
    """The work on colours of a batch, which is not a worker's but done by the training process, on its device."""
    numbers = batch.jitter
    assert numbers is not None
    times = best_of(
        rounds,
        lambda: jitter(batch.pixels, batch.valid, numbers, hue=True),
        lambda: jitter(batch.pixels, batch.valid, numbers, hue=False),
        lambda: normalise(batch.pixels),
    )
    full, plain, image = (seconds / len(batch.ids) for seconds in times)
    detail = f"per image, CPU, one thread: jitter {_ms(full)}, without hue {_ms(plain)}, normalise {_ms(image)}"
    return Row(6, "colours on the batch / JPEG decoding", (full + image) / decoding, "", None, detail)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def start(rounds: int) -> list[Row]:
    """Wall time of --help and --cfg job."""
    rows = []
    for words, limit in ((("--help",), 2.0), (("--cfg", "job"), 3.0)):
        command = [sys.executable, "-m", "dhr.train", *words]
        seconds = best_of(rounds, partial(subprocess.run, command, check=True, capture_output=True))[0]
        rows.append(Row(7, f"dhr.train {' '.join(words)}, seconds", seconds, f"<= {limit:g}", seconds <= limit))
    return rows
