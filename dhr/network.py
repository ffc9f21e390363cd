"""The network that is trained: backbone, decoder for the logits, bias-free classifier for the CAMs."""

from typing import Protocol

from torch import Tensor, nn

from dhr.numerics import resize
from dhr.sample import NetworkOutput


class Backbone(Protocol):
    """What a backbone offers: feature maps C2..C5 and how wide they are."""

    channels: tuple[int, int, int, int]
    output_stride: int

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) normalised image -> C2, C3, C4, C5."""
        ...


class CamClassifier(nn.Module):
    """Class activation maps: C5, resized by `scale`, through a 1x1 convolution without bias."""

    def __init__(self, in_channels: int, num_tags: int, *, scale: float = 0.5) -> None:
        super().__init__()
        self.scale = scale
        self.projection = nn.Conv2d(in_channels, num_tags, 1, bias=False)

    def forward(self, c5: Tensor) -> Tensor:
        """(B,D,h,w) -> (B,T,int(h * scale),int(w * scale)) signed class scores."""
        size = (max(int(c5.shape[-2] * self.scale), 1), max(int(c5.shape[-1] * self.scale), 1))
        return self.projection(resize(c5, size, align_corners=True))


class SegmentationNetwork(nn.Module):
    """Backbone, decoder and CAM classifier, composed; it has no options of its own."""

    def __init__(self, backbone: nn.Module, decoder: nn.Module, classifier: CamClassifier) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.classifier = classifier

    def forward(self, image: Tensor) -> NetworkOutput:
        """(B,3,H,W) normalised image -> logits, CAMs and the feature maps C4 and C5."""
        c2, _, c4, c5 = self.backbone(image)
        return NetworkOutput(logits=self.decoder(c2, c5), cams=self.classifier(c5), features=(c4, c5))
