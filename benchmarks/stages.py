"""Lines 4 to 7: predict, evaluate, the loader and the start of a command, each against its bare operations."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from measuring import Row, best_of, photographs
from PIL import Image
from relabel import crf_of
from torchvision.transforms.v2 import functional

from dhr.artifacts import DataLayout, tags_text, write_atomically, write_mask
from dhr.building import build_network
from dhr.config.compose import compose
from dhr.dataset.classes import load_classes
from dhr.dataset.reader import MaskFolder, Split, TrainDataset
from dhr.dataset.transforms import TrainTransform
from dhr.evaluation.run import _histograms
from dhr.prediction import Predictor, _masks
from dhr.processes import cores

TABLE = load_classes("voc")


def make_split(root: Path, images: int) -> Split:
    """A split `train` of photographs of VOC's size with masks and tags."""
    layout = DataLayout(root, "VOC2012")
    pixels, masks = photographs(24, 500)
    for number in range(images):
        id = f"2007_{number:06d}"
        image, mask = pixels[number % 24, :, :375].permute(1, 2, 0).numpy(), masks[number % 24, :375].numpy()
        path = layout.split("train") / "image" / f"{id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=90)
        write_mask(layout.mask("train", id), mask, TABLE.palette)
        tags = [TABLE.names[label] for label in np.unique(mask) if 0 < label < 255]
        write_atomically(layout.tags("train", id), tags_text(id, mask.shape, tags), durable=False)
    return Split.open(layout, "train", TABLE)


def predict(split: Split, images: int) -> list[Row]:
    """Wall time of network and CRF together against their core-seconds shared out over the cores."""
    cfg = compose("train", ["dataset=voc", "backbone=resnet18", "backbone.weights=null"])
    network = build_network(cfg, TABLE).eval()
    ids = [split.id(number) for number in range(images)]
    options = {
        "network": network,
        "scales": (1.0,),
        "flip": False,
        "minimum_probability": 0.0,
        "device": torch.device("cpu"),
    }
    alone = Predictor(crf=crf_of("native", "crf.workers=0"), **options)
    together = Predictor(crf=crf_of("native", f"crf.workers={cores()}"), **options)
    alone.refine(torch.rand(3, 32, 32), split.pixels(ids[0])[:, :32, :32])
    torch.set_num_threads(1)
    start = time.perf_counter()
    maps = [alone.probabilities(split.pixels(id)) for id in ids]
    network_seconds = time.perf_counter() - start
    start = time.perf_counter()
    for id, each in zip(ids, maps, strict=True):
        alone.refine(each, split.pixels(id))
    crf_seconds = time.perf_counter() - start
    torch.set_num_threads(cores())
    start = time.perf_counter()
    done = list(_masks(together, split, ids))
    wall = time.perf_counter() - start
    ideal = (network_seconds + crf_seconds) / cores()
    detail = (
        f"{len(done)} images: network {network_seconds:.1f} s, CRF {crf_seconds:.1f} s on one core, wall {wall:.1f} s"
    )
    return [
        Row(4, "predict / (network + CRF core-seconds) / cores", wall / ideal, "<= 1.15", wall <= 1.15 * ideal, detail)
    ]


def evaluate(split: Split, rounds: int) -> list[Row]:
    """Scoring loop against decoding the same pairs with Pillow in as many threads."""
    ids = [split.id(number) for number in range(len(split))]
    truth = split.layout.split("train") / "mask"

    def decode(id: str) -> None:
        for _ in range(2):
            np.asarray(Image.open(truth / f"{id}.png"))

    def bare() -> None:
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(decode, ids))

    plain, whole = best_of(rounds, bare, lambda: list(_histograms(split, truth, ids)))
    detail = f"{len(ids)} pairs: decoding {plain:.2f} s, scoring {whole:.2f} s"
    return [Row(5, "evaluate / decoding", whole / plain, "<= 1.25", whole <= 1.25 * plain, detail)]


def loader(split: Split, rounds: int) -> list[Row]:
    """A training sample against its bare operations, and against JPEG decoding alone, one process."""
    torch.set_num_threads(1)
    transform = TrainTransform(512, (320, 640), 0.5, (0.3, 0.3, 0.3, 0.1))
    folder = MaskFolder(split.layout.split("train") / "mask", TABLE.num_classes)
    data = TrainDataset(split, np.arange(len(split)), folder, None, (64, 64), transform, 1)
    count = min(len(split), 120)
    ids = [split.id(number) for number in range(count)]
    paths = [(split.layout.image("train", id), split.layout.mask("train", id)) for id in ids]

    def jpeg() -> None:
        for path, _ in paths:
            np.asarray(Image.open(path))

    def operations() -> None:
        for path, mask in paths:
            image = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
            labels = torch.from_numpy(np.array(Image.open(mask)))[None]
            functional.resize(image, [360, 480], functional.InterpolationMode.BICUBIC, antialias=True)
            functional.resize(labels, [360, 480], functional.InterpolationMode.NEAREST_EXACT)

    decoding, bare, whole = best_of(rounds, jpeg, operations, lambda: [data[(0, number)] for number in range(count)])
    jpegs, bares, wholes = (f"{seconds / count * 1e3:.1f} ms" for seconds in (decoding, bare, whole))
    each = f"per sample: JPEG {jpegs}, bare {bares}, whole {wholes}"
    return [
        Row(6, "sample / its bare operations", whole / bare, "<= 1.25", whole <= 1.25 * bare, each),
        Row(6, "samples/s by JPEG decoding alone", decoding / whole, ">= 0.35", decoding >= 0.35 * whole, each),
    ]


def start(rounds: int) -> list[Row]:
    """Wall time of --help and --cfg job."""
    rows = []
    for words, limit in ((("--help",), 2.0), (("--cfg", "job"), 3.0)):
        command = [sys.executable, "-m", "dhr.train", *words]
        seconds = best_of(rounds, lambda command=command: subprocess.run(command, check=True, capture_output=True))[0]
        rows.append(Row(7, f"dhr.train {' '.join(words)}, seconds", seconds, f"<= {limit:g}", seconds <= limit))
    return rows
