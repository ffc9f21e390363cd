"""Line 10: extract_uss against its backbone alone, in the same precision, on the same sizes; features in every step.

Usage: python benchmarks/uss_extract.py [images]
Photographs of VOC's size where they are at hand. The backbone is DINOv2 ViT-S/14 of timm with random weights: the
time does not depend on them. Alone it gets tensors that are on the device already, image and mirror image as a batch of
two; extract_uss decodes JPEG, resizes, averages and writes files as well. On a CPU the scales are 1.0 and 0.5, on a GPU
those of CAUSE, in bf16.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import STRIDE, Row, on, photographs, source_of_pictures, table
from stages import make_split

from dhr.core.cells import patch_grid
from dhr.core.sample import Batch
from dhr.core.window import StoredFeatures, Window, boxes_of
from dhr.dataset.split import Split
from dhr.disk.feature_store import FeatureStore
from dhr.runtime.pools import cores
from dhr.training.features import Computed
from dhr.uss.extraction import ExtractionModel, extract_all
from dhr.uss.tiling import MemoryFallback
from dhr.uss.vit import VisionTransformer

NAME, TARGET, SIDE = "vit_small_patch14_dinov2.lvd142m", 0.9, 512


def extraction(split: Split, images: int, rounds: int) -> list[Row]:
    """The ratio of the two throughputs; the two take turns, the best of the rounds counts."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    scales = (2.0, 1.0, 1.5, 0.5) if on_gpu else (1.0, 0.5)
    torch.set_num_threads(cores())
    network = VisionTransformer(name=NAME, weights="random", precision="bf16" if on_gpu else "fp32").to(device)
    ids = [split.id(number % len(split)) for number in range(images)]
    sizes = [_size(split, image_id) for image_id in ids]
    views = {(size, scale): _view(size, scale, device) for size in set(sizes) for scale in scales}

    @torch.no_grad()
    def bare() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            for size in sizes:
                for scale in scales:
                    network.layers.forward_features(views[size, scale])

    def whole() -> None:
        features = ExtractionModel(MemoryFallback(network), scales, flip=True, device=device)
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            store = FeatureStore(Path(folder), "measure again", "safetensors")
            for _ in extract_all(features, ids, split.pixels, store.write):
                pass

    alone, together = (min(times) for times in zip(*[(_time(bare), _time(whole)) for _ in range(rounds)], strict=True))
    detail = (
        f"{images} images, scales {', '.join(map(str, scales))} with flip, {device.type}, {source_of_pictures()}: "
        f"{images / together:.2f} images/s, backbone alone {images / alone:.2f}"
    )
    ratio = alone / together
    return [Row(10, "extract_uss / backbone alone, images/s", ratio, f">= {TARGET}", ratio >= TARGET, detail)]


def on_the_fly(images: int, rounds: int) -> list[Row]:
    """What `features=computed` costs a step, against reading and sampling stored maps; crops of 512x512."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(cores())
    pixels, _ = photographs(images, SIDE)
    windows = [Window.whole((SIDE, SIDE))] * images
    boxes, whole = boxes_of(windows), torch.ones(images, dtype=torch.bool)
    batch = Batch(tuple(map(str, range(images))), pixels, torch.ones(images, 1), pixels[:, 0], boxes, 1, whole)
    batch = on(batch, device)
    network = VisionTransformer(name=NAME, weights="random", precision="bf16" if device.type == "cuda" else "fp32")
    complete = Computed().complete(lambda: network, stride=STRIDE)
    grid = (SIDE // STRIDE, SIDE // STRIDE)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        store = FeatureStore(Path(folder), "measure again", "safetensors")
        for image_id in batch.ids:
            store.write(image_id, torch.rand(90, 54, 72))

        def stored() -> None:
            maps = [
                window.on_map(store.read(image_id), grid) for image_id, window in zip(batch.ids, windows, strict=True)
            ]
            StoredFeatures.stack(maps).changed(lambda tensor: tensor.to(device)).sampled()

        read, computed = (
            min(times)
            for times in zip(*[(_time(stored), _time(lambda: complete(batch))) for _ in range(rounds)], strict=True)
        )
    detail = f"{device.type}, ViT-S/14: computed {computed / images:.3f} s a crop, stored {read / images:.4f} s"
    return [Row(10, "features=computed / stored, seconds a crop", computed / read, "", None, detail)]


def _size(split: Split, image_id: str) -> tuple[int, int]:
    height, width = split.pixels(image_id).shape[1:]
    return height, width


def _view(size: tuple[int, int], scale: float, device: torch.device) -> torch.Tensor:
    height, width = patch_grid(size, scale=scale, patch=14)
    return torch.randn(2, 3, 14 * height, 14 * width, device=device)


def _time(work: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    count = int((sys.argv[1:] or ["8"])[0])
    with tempfile.TemporaryDirectory() as data:
        print(table(extraction(make_split(Path(data), count), count, 3) + on_the_fly(2, 3)))
