"""pydensecrf called by hand, as its users do: what every dense CRF of this project is compared with."""

import numpy as np
from pydensecrf import densecrf

from dhr.crf.potentials import FLOOR, Potentials


def by_hand(probabilities: np.ndarray, pixels: np.ndarray, potentials: Potentials) -> np.ndarray:
    """Marginals (M,H,W) of one image: probabilities (M,H,W), pixels (H,W,3) uint8."""
    count, height, width = probabilities.shape
    field = densecrf.DenseCRF2D(width, height, count)
    field.setUnaryEnergy(-np.log(np.clip(probabilities, FLOOR, 1)).reshape(count, -1).astype(np.float32).copy())
    field.addPairwiseGaussian(sxy=potentials.gaussian_sxy, compat=potentials.gaussian_weight)
    field.addPairwiseBilateral(
        sxy=potentials.bilateral_sxy,
        srgb=potentials.bilateral_srgb,
        rgbim=np.ascontiguousarray(pixels),
        compat=potentials.bilateral_weight,
    )
    return np.array(field.inference(potentials.iterations)).reshape(count, height, width)
