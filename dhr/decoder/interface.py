"""What a decoder offers to the network and to training."""

from torch import Tensor, nn

from dhr.core.losses import segmentation_loss
from dhr.core.sample import NetworkOutput


class Decoder(nn.Module):
    """From the maps (C2, C3, C4, C5) to `Decoded`; labels of pixels are learnt with the cross entropy.

    Attributes:
        stride: pixels of the image per cell of the logits.
        exported_alone: whether a program of it sees one image at a time.
    """

    stride: int
    exported_alone = False

    def loss(self, output: NetworkOutput, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """A scalar, from the output of the network, the labels (B,H,W), 255 ignored, and their weights (B,H,W)."""
        return segmentation_loss(output.logits, labels, weights)
