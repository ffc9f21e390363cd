"""What a classifier offers to the network and to training."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from dhr.core.sample import NetworkOutput


class Classifier(nn.Module, ABC):
    """From C5 to class activation maps, and the loss that trains them."""

    @abstractmethod
    def loss(self, output: NetworkOutput, valid: Tensor, tags: Tensor) -> Tensor:
        """A scalar.

        Args:
            output: of the network.
            valid: (B,H,W) bool, false on the padding of a crop.
            tags: (B,T) 0/1.
        """
