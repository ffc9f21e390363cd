"""The fastest dense CRF that is installed; all of them give the same result."""

from dataclasses import dataclass, field
from importlib.util import find_spec

from torch import Tensor

from dhr.core.ranges import Workers
from dhr.crf.interface import Crf, Field
from dhr.crf.potentials import Potentials


@dataclass(frozen=True)
class AutoCrf(Potentials):
    """The CRF in PyTorch for images on an accelerator; for images on a CPU the compiled one, else pydensecrf.

    Attributes:
        workers: threads or processes of the CRFs on a CPU.
    """

    workers: Workers = 2
    _made: dict[str, Crf] = field(default_factory=dict, init=False, repr=False, compare=False)

    def on(self, pixels: Tensor, valid: Tensor) -> Field:
        """See `dhr.crf.interface.Crf`."""
        name, options = best(on_cpu=pixels.is_cpu), vars(self.plain())
        if name in self._made:
            return self._made[name].on(pixels, valid)
        # Imported here: each of them needs a package that the others do not.
        if name == "torch":
            from dhr.crf.torch import TorchCrf

            self._made[name] = TorchCrf(**options)
        elif name == "native":
            from dhr.crf.native import NativeCrf

            self._made[name] = NativeCrf(**options, workers=self.workers)
        else:
            from dhr.crf.pydensecrf import PyDenseCrf

            self._made[name] = PyDenseCrf(**options, workers=self.workers)
        return self._made[name].on(pixels, valid)


def best(*, on_cpu: bool) -> str:
    """Name of the CRF that `crf=auto` uses for images on a CPU or elsewhere.

    >>> best(on_cpu=False)
    'torch'
    """
    if not on_cpu:
        return "torch"
    return next(
        (name for name, package in (("native", "numba"), ("pydensecrf", "pydensecrf")) if find_spec(package)), "torch"
    )
