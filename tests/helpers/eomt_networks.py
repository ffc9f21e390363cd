"""A small EoMT network for tests, with inputs and labels for it."""

from typing import Any

import torch
from torch import Tensor, nn

from dhr.backbone.vit import Vit
from dhr.classifier.none import NoClassifier
from dhr.decoder.eomt import Eomt
from dhr.decoder.mask2former_loss import MaskLoss
from dhr.network.segmentation import SegmentationNetwork

CLASSES, EMBED, DEPTH, HEADS, BLOCKS, QUERIES = 5, 24, 4, 3, 3, 6
NAMES = {
    "dinov2": "vit_small_patch14_reg4_dinov2.lvd142m",
    "dinov3": "vit_small_patch16_dinov3.lvd1689m",
    "plain": "vit_small_patch16_224.augreg_in21k_ft_in1k",
}


def decoder(patch: int | None = 16, **changes: Any) -> Eomt:
    options = {"criterion": MaskLoss(points=64), "queries": QUERIES, "blocks": BLOCKS, **changes}
    return Eomt(backbone_channels=(EMBED,) * 4, output_stride=16, num_classes=CLASSES, patch=patch, **options)


def network(family: str = "dinov2", patch: int = 16, **changes: Any) -> SegmentationNetwork:
    """Random, with weights so large that masks and attention say something."""
    torch.manual_seed(0)
    backbone = Vit(NAMES[family], embed=EMBED, depth=DEPTH, heads=HEADS, patch=patch)
    net = SegmentationNetwork(backbone, decoder(patch, **changes), NoClassifier(EMBED, CLASSES - 1))
    for name, weight in net.named_parameters():
        if weight.ndim > 1 or name.endswith(("gamma", "gamma_1", "gamma_2")):
            nn.init.normal_(weight, 0.0 if weight.ndim > 1 else 1.0, 0.3)
    return net


def image(height: int = 64, width: int = 64) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def labels_of(height: int = 64, width: int = 64) -> Tensor:
    drawn = torch.randint(0, CLASSES, (2, 4, 4), generator=torch.Generator().manual_seed(2))
    labels = nn.functional.interpolate(drawn[:, None].float(), (height, width))[:, 0].to(torch.uint8)
    labels[:, :9] = 255
    return labels
