"""Images through pydensecrf; imports no torch, so that a pool of processes starts fast and stays small."""

from typing import Any

import numpy as np
from pydensecrf import densecrf

from dhr.crf.potentials import ABSENT, FLOOR, Potentials

_KEPT: dict[int, dict[int, Any]] = {}  # batch -> image -> field; of one batch at most


def infer(probabilities: np.ndarray, pixels: np.ndarray, potentials: Potentials) -> np.ndarray:
    """Mean-field marginals of one image.

    Args:
        probabilities: (M,H,W) float32, summing to 1 over M; M >= 2.
        pixels: (H,W,3) uint8 RGB.
        potentials: symmetric normalisation, Potts compatibility.

    Returns:
        (M,H,W) float32.

    >>> scores = np.float32([[[0.9, 0.5, 0.5, 0.1]], [[0.1, 0.5, 0.5, 0.9]]])
    >>> pixels = np.uint8([[[40] * 3, [40] * 3, [200] * 3, [200] * 3]])
    >>> infer(scores, pixels, Potentials()).argmax(0).tolist()  # the colour decides where a pixel is unsure
    [[0, 0, 1, 1]]
    """
    return _inferred(_field(len(probabilities), pixels, potentials), probabilities, potentials.iterations)


def infer_of_batch(
    place: tuple[int, int], probabilities: np.ndarray, pixels: np.ndarray, potentials: Potentials
) -> np.ndarray:
    """As `infer`, bit for bit, but the field of an image is kept: its next inference need not build the terms again.

    Fields are kept until an image of another batch comes. A field serves one number of classes; if that changes, a
    new field is built.

    Args:
        place: number of the batch, number of the image in it.
        probabilities: as in `infer`.
        pixels: as in `infer`; always the same for one place.
        potentials: as in `infer`.
    """
    batch, image = place
    fields = _KEPT.get(batch)
    if fields is None:
        _KEPT.clear()
        fields = _KEPT[batch] = {}
    kept = fields.get(image)
    if kept is None or kept[0] != len(probabilities):
        kept = fields[image] = len(probabilities), _field(len(probabilities), pixels, potentials)
    return _inferred(kept[1], probabilities, potentials.iterations)


def _filled(channels: int) -> int:
    """The channels that pydensecrf gets: 3 take it a quarter longer than 4, and 7 longer than 8."""
    return channels + 1 if channels % 4 == 3 else channels


def _field(channels: int, pixels: np.ndarray, potentials: Potentials) -> Any:
    height, width = pixels.shape[:2]
    field = densecrf.DenseCRF2D(width, height, _filled(channels))
    # Diagonal kernel and symmetric normalisation are the defaults; builds with Cython 3 do not export their names.
    field.addPairwiseGaussian(
        sxy=potentials.gaussian_sxy,
        compat=potentials.gaussian_weight,
    )
    field.addPairwiseBilateral(
        sxy=potentials.bilateral_sxy,
        srgb=potentials.bilateral_srgb,
        rgbim=np.ascontiguousarray(pixels),
        compat=potentials.bilateral_weight,
    )
    return field


def _inferred(field: Any, probabilities: np.ndarray, iterations: int) -> np.ndarray:
    channels = len(probabilities)
    unary = np.full((_filled(channels), probabilities[0].size), ABSENT, np.float32)
    unary[:channels] = -np.log(np.maximum(probabilities, FLOOR)).reshape(channels, -1)
    field.setUnaryEnergy(unary)
    return np.array(field.inference(iterations), np.float32)[:channels].reshape(probabilities.shape)
