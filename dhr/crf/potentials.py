"""Parameters that all dense CRFs share; imports nothing, so that processes that need them start fast."""

from dataclasses import dataclass, fields
from typing import Annotated

from annotated_types import Ge, Le

from dhr.core.ranges import Weight

FLOOR = 1e-5  # smallest probability given to the CRF: a class is never ruled out for good
ABSENT = 1e30  # energy of a channel that only fills up: its exp is exactly 0


Reach = Annotated[float, Ge(0.5), Le(1000)]  # below that the lattice has more cells than numbers


@dataclass(frozen=True)
class Potentials:
    """Parameters of a dense CRF (Kraehenbuehl and Koltun, 2011) with symmetric normalisation and Potts compatibility.

    The pairwise energy of two pixels with different classes is the sum of two kernels, each times its weight.

    Attributes:
        iterations: mean-field iterations.
        gaussian_sxy: standard deviation of the smoothness kernel, pixels.
        gaussian_weight: weight of the smoothness kernel.
        bilateral_sxy: standard deviation of the appearance kernel in space, pixels.
        bilateral_srgb: standard deviation of the appearance kernel in colour, grey levels.
        bilateral_weight: weight of the appearance kernel.
    """

    iterations: Annotated[int, Ge(1), Le(10_000)] = 10
    gaussian_sxy: Reach = 1.0
    gaussian_weight: Weight = 3.0
    bilateral_sxy: Reach = 67.0
    bilateral_srgb: Reach = 3.0
    bilateral_weight: Weight = 4.0

    def plain(self) -> "Potentials":
        """The parameters alone, without what a CRF has beside them, so that they can be sent to other processes.

        >>> from dhr.crf.torch import TorchCrf
        >>> TorchCrf(iterations=5, images_at_once=2).plain() == Potentials(iterations=5)
        True
        """
        return Potentials(*(getattr(self, each.name) for each in fields(Potentials)))
