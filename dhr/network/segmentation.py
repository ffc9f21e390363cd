"""The network that is trained: backbone, decoder for the logits, classifier for the CAMs."""

from typing import Protocol

from torch import Tensor, nn

from dhr.classifier.interface import Classifier
from dhr.core.cells import Cells, CentredCells
from dhr.core.sample import NetworkOutput
from dhr.decoder.interface import Decoder


class Backbone(Protocol):
    """What a backbone offers: feature maps C2..C5 of images of any size, and how wide they are."""

    channels: tuple[int, int, int, int]
    output_stride: int

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) normalised image -> C2, C3, C4, C5."""
        ...


class SegmentationNetwork(nn.Module):
    """Backbone, decoder and classifier, composed; it has no options of its own.

    Attributes:
        cells: where the cells of its logits lie in an image.
    """

    cells: Cells

    def __init__(self, backbone: nn.Module, decoder: Decoder, classifier: Classifier) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.classifier = classifier
        self.cells = CentredCells()  # as in training; `load_network` replaces it for the released networks

    def forward(self, image: Tensor) -> NetworkOutput:
        """(B,3,H,W) normalised image -> logits, CAMs and the feature maps C4 and C5."""
        features, decoded = self.decoder.decode(self.backbone, image)
        return NetworkOutput(
            logits=decoded.logits, cams=self.classifier(features[1]), features=features, queries=decoded.queries
        )
