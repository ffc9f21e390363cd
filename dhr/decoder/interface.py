"""What a decoder offers to the network and to training."""

from typing import Any

from torch import Tensor, nn

from dhr.core.losses import segmentation_loss
from dhr.core.sample import Decoded, NetworkOutput


class Decoder(nn.Module):
    """From the maps (C2, C3, C4, C5) to `Decoded`; labels of pixels are learnt with the cross entropy.

    Attributes:
        stride: pixels of the image per cell of the logits.
        exported_alone: whether a program of it sees one image at a time.
        exported_any_size: whether a program of it can be for images of any size.
    """

    stride: int
    exported_alone = False
    exported_any_size = True

    def decode(self, backbone: Any, image: Tensor) -> tuple[tuple[Tensor, Tensor], Decoded]:
        """The maps C4 and C5 of normalised images (B,3,H,W), and the answer to them.

        Backbone first, decoder after it; one that takes part in the last layers of its backbone does it otherwise.
        """
        maps = backbone(image)
        decoded: Decoded = self(maps)
        return maps[2:], decoded

    def advance(self, done: float) -> None:
        """Called before every step of a training with the share of it that is done, in [0,1); most need not know."""

    def loss(self, output: NetworkOutput, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """A scalar, from the output of the network, the labels (B,H,W), 255 ignored, and their weights (B,H,W)."""
        return segmentation_loss(output.logits, labels, weights)
