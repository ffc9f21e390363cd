"""Time of the compiled CRF against pydensecrf, for what a training step asks: two inferences on the same images.

Usage: python benchmarks/crf_native.py [images] [rounds]
Photographs of VOC at 512x512 where they are at hand, with 2, 3 and 4 classes. All take turns, the best of the rounds
counts, and PyTorch has one thread. pydensecrf builds its terms once for both inferences, as `crf=pydensecrf`
does, or twice; the compiled one builds all of its lattices once. M/N is the number of lattice vertices per pixel, which
decides about the time.
"""

import sys

import torch
from measuring import best_of, photographs, source_of_pictures
from torch import Tensor
from torch.nn import functional

from dhr.crf import native
from dhr.crf.interface import Crf
from dhr.crf.native import NativeCrf
from dhr.crf.pydensecrf import PyDenseCrf

SIDE = 512


def probabilities(images: int, classes: int) -> Tensor:
    """(B,M,SIDE,SIDE) of smooth regions."""
    coarse = torch.randn(images, classes, 8, 8, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(3 * coarse, size=(SIDE, SIDE), mode="bicubic").softmax(1)


def step(crf: Crf, pixels: Tensor, scores: Tensor, *, builds: int = 1) -> Tensor:
    """Two inferences, on one field or on two; nothing is there from earlier steps."""
    native._smoothness.cache_clear()
    valid, present = torch.ones(len(pixels), SIDE, SIDE) > 0, torch.ones(scores.shape[:2]) > 0
    fields = [crf.on(pixels, valid) for _ in range(builds)]
    fields[0](scores.flip(1), present)
    return fields[-1](scores, present)


def vertices_per_pixel(pixels: Tensor) -> list[float]:
    """M/N of the appearance lattice of each image."""
    images = [image.permute(1, 2, 0).contiguous().numpy() for image in pixels]
    return [native.lattices_of(image, NativeCrf())[1].size / SIDE**2 for image in images]


def line(pixels: Tensor, classes: int, rounds: int) -> str:
    """One row of the table."""
    scores = probabilities(len(pixels), classes)
    plain, plain2, own, own2 = PyDenseCrf(workers=0), PyDenseCrf(workers=2), NativeCrf(workers=0), NativeCrf(workers=2)
    difference = float((step(own, pixels, scores) - step(plain, pixels, scores)).abs().mean())
    twice, once, one, two, once2 = best_of(
        rounds,
        lambda: step(plain, pixels, scores, builds=2),
        lambda: step(plain, pixels, scores),
        lambda: step(own, pixels, scores),
        lambda: step(own2, pixels, scores),
        lambda: step(plain2, pixels, scores),
    )
    for pool in plain2._pools:
        pool.shutdown()
    times = [f"{seconds / len(pixels):7.3f}" for seconds in (twice, once, one, once2, two)]
    ratios = [f"{ratio:6.2f}" for ratio in (twice / one, once / one, one / two, once2 / two)]
    return " ".join([f"{classes:>3}", *times, *ratios, f"{difference:9.1e}"])


def main() -> int:
    """Prints the table."""
    images, rounds = (int(word) for word in (sys.argv[1:] + ["6", "4"][len(sys.argv) - 1 :]))
    torch.set_num_threads(1)
    pixels, _ = photographs(images, SIDE)
    found = vertices_per_pixel(pixels)
    print(f"{images} {source_of_pictures()}, M/N mean {sum(found) / images:.2f}, {min(found):.2f} to {max(found):.2f}")
    print("seconds per image: pydensecrf with two builds, with one, native; with two workers: pydensecrf, native")
    print("ratios: two builds / native, one build / native, native one / two workers, both with two workers")
    for classes in (2, 3, 4):
        print(line(pixels, classes, rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
