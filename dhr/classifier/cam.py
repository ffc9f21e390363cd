"""Class activation maps, learnt from tags."""

from torch import Tensor, nn

from dhr.classifier.interface import Classifier
from dhr.core.losses import tag_loss
from dhr.core.numerics import resize
from dhr.core.ranges import Scale
from dhr.core.sample import NetworkOutput


class CamClassifier(Classifier):
    """Class activation maps: C5, resized by `scale`, through a 1x1 convolution without bias.

    Args:
        in_channels: width of C5.
        num_tags: classes without background.
        scale: of the maps against C5.
    """

    def __init__(self, in_channels: int, num_tags: int, *, scale: Scale = 0.5) -> None:
        super().__init__()
        self.scale = scale
        self.projection = nn.Conv2d(in_channels, num_tags, 1, bias=False)

    def forward(self, c5: Tensor) -> Tensor:
        """(B,D,h,w) -> (B,T,int(h * scale),int(w * scale)) signed class scores."""
        size = (max(int(c5.shape[-2] * self.scale), 1), max(int(c5.shape[-1] * self.scale), 1))
        return self.projection(resize(c5, size, align_corners=True))

    def loss(self, output: NetworkOutput, valid: Tensor, tags: Tensor) -> Tensor:
        """See `tag_loss`."""
        return tag_loss(output.cams, valid, tags)
