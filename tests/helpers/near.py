"""A network that looks no farther than a cell, so that parts of an image say what the whole says."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dhr.classifier.none import NoClassifier
from dhr.core.cells import Cells, CentredCells
from dhr.core.sample import Decoded
from dhr.crf.none import NoCrf
from dhr.decoder.interface import Decoder
from dhr.network.predictor import Predictor
from dhr.network.segmentation import SegmentationNetwork
from dhr.network.tiles import Tiles

STRIDE, CLASSES = 4, 5
TILES = Tiles(largest=100 * 100, side=128, overlap=64)


class Near(nn.Module):
    """A backbone whose cells see STRIDE x STRIDE pixels each, and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, CLASSES, STRIDE, STRIDE)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        padded = functional.pad(image, (0, -image.shape[-1] % STRIDE, 0, -image.shape[-2] % STRIDE))
        maps = 3 * self.convolution(padded)
        return maps, maps, maps, maps


class Plain(Decoder):
    stride = STRIDE

    def forward(self, maps: tuple[Tensor, ...]) -> Decoded:
        return Decoded(maps[0])


def predictor(*, cells: Cells | None = None, tiles: Tiles | None = TILES) -> Predictor:
    torch.manual_seed(0)
    network = SegmentationNetwork(Near(), Plain(), NoClassifier(CLASSES, CLASSES - 1)).eval()
    network.cells = cells or CentredCells()
    return Predictor(
        network, NoCrf(), (1.0,), flip=True, minimum_probability=0.0, device=torch.device("cpu"), tiles=tiles
    )


def smooth(height: int, width: int) -> Tensor:
    """(3,H,W) uint8: what varies slowly, so that a part of a cell more or less makes a small difference."""
    noise = torch.rand(1, 3, height // 16 + 2, width // 16 + 2, generator=torch.Generator().manual_seed(1))
    return (255 * functional.interpolate(noise, (height, width), mode="bilinear"))[0].to(torch.uint8)
