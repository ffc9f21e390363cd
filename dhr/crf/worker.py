"""One image through pydensecrf; imports no torch, so that a pool of processes starts fast and stays small."""

import numpy as np
from pydensecrf import densecrf

from dhr.crf.potentials import FLOOR, Potentials


def infer(probabilities: np.ndarray, pixels: np.ndarray, potentials: Potentials) -> np.ndarray:
    """Mean-field marginals of one image.

    Args:
        probabilities: (M,H,W) float32, summing to 1 over M; M >= 2.
        pixels: (H,W,3) uint8 RGB.
        potentials: symmetric normalisation, Potts compatibility.

    Returns:
        (M,H,W) float32.
    """
    channels, height, width = probabilities.shape
    unary = -np.log(np.maximum(probabilities, FLOOR)).reshape(channels, -1).astype(np.float32)
    field = densecrf.DenseCRF2D(width, height, channels)
    field.setUnaryEnergy(np.ascontiguousarray(unary))
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
    marginals = np.asarray(field.inference(potentials.iterations), np.float32)
    return marginals.reshape(channels, height, width)
