"""What a training step learns: the WSS masks as given, or the masks that rebalancing makes of them."""

from dataclasses import dataclass

from torch import Tensor

from dhr.sample import Batch, NetworkOutput
from dhr.training.module import Relabel


@dataclass(frozen=True)
class GivenMasks:
    """Plain training on the WSS masks."""

    def __call__(self, batch: Batch, output: NetworkOutput, epoch: int) -> Tensor:
        """(B,H,W) WSS masks."""
        return batch.wss_mask


@dataclass(frozen=True)
class RebalancedMasks:
    """The WSS masks first, then the masks that `relabel` makes with the network being trained.

    Attributes:
        relabel: the rebalancer.
        start_epoch: first epoch with rebalancing; before it the network's features mean too little.
    """

    relabel: Relabel
    start_epoch: int

    def __call__(self, batch: Batch, output: NetworkOutput, epoch: int) -> Tensor:
        """(B,H,W) labels."""
        return batch.wss_mask if epoch < self.start_epoch else self.relabel(batch, output).pseudo_mask
