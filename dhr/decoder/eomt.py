"""EoMT: queries that take part in the last blocks of a vision transformer and then predict a class and a mask each."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional
from transformers import EomtConfig
from transformers.models.eomt.modeling_eomt import EomtMaskHead, EomtScaleBlock

from dhr.core.errors import InputError
from dhr.core.ranges import Power, SmallCount
from dhr.core.sample import Decoded, NetworkOutput, Queries
from dhr.core.tokens import Tokens
from dhr.decoder.interface import Decoder
from dhr.decoder.mask2former_loss import MaskLoss
from dhr.decoder.semantic import semantic_logits

FIRST, LAST, TAKES = 1 / 6, 4 / 6, 1 / 6  # of the training: where the masks of the first and last block begin to go


class Blocks(Protocol):
    """A backbone whose blocks a decoder can run itself, `dhr.backbone.vit.Vit` for one."""

    depth: int

    def embed(self, image: Tensor) -> Tokens:
        """(B,3,H,W) -> the tokens before the first block."""
        ...

    def step(self, number: int, tokens: Tokens, seen: Tensor | None = None) -> Tokens:
        """The tokens after block `number`, in which each sees those that `seen` (B,1,N,N) bool says."""
        ...

    def normed(self, tokens: Tokens) -> Tokens:
        """Tokens after the last norm."""
        ...

    def map_of(self, after: Sequence[Tokens], quarter: int, image: Tensor) -> Tensor:
        """C2..C5 of the image, for 1..4 quarters of the depth, from the tokens after each block."""
        ...


class Eomt(Decoder):
    """Encoder-only Mask Transformer: "Your ViT is Secretly an Image Segmentation Model" (Kerssies et al., CVPR 2025).

    The queries join the tokens of the image before the last blocks of the backbone, which stay the backbone's. In
    training, a query sees in each of these blocks only the patches of the mask that it predicted before it; block by
    block this ends, so that a finished network needs no mask. Where a training stopped before, evaluation masks all
    queries of a block as long as training masks most of them; the authors draw them at random there, too.

    Args:
        backbone_channels: widths of C2..C5; the last is that of the tokens.
        output_stride: of C5, which is not read.
        num_classes: background included.
        criterion: the loss.
        patch: side of the backbone's patches in pixels; None, where it has none, is refused.
        queries: masks that are proposed, of which each class of an image gets one.
        blocks: of the backbone, the last ones, in which queries take part; each is supervised, and so is the end.
        annealing: power by which the share of masked queries falls from 1 to 0.

    Raises:
        InputError: the backbone has no patches.
    """

    exported_any_size = False  # torch.export takes the number of patches of its example for a constant
    unmasked: Tensor

    def __init__(
        self,
        *,
        backbone_channels: tuple[int, int, int, int],
        output_stride: int,
        num_classes: int,
        criterion: MaskLoss,
        patch: Literal[8, 14, 16] | None,
        queries: Annotated[int, Ge(1), Le(16384)] = 100,
        blocks: SmallCount = 4,
        annealing: Power = 0.9,
    ) -> None:
        super().__init__()
        if patch is None:
            raise InputError("decoder: eomt: the backbone has no patches; use backbone=dinov2_large, or another ViT")
        doublings = max(1, int(math.log2(patch)) - 2)
        width = backbone_channels[3]
        config = EomtConfig(hidden_size=width, num_upscale_blocks=doublings)
        self.stride = patch // 2**doublings
        self.criterion = criterion
        self.blocks = blocks
        self.annealing = annealing
        self.done = 0.0
        self.query = nn.Embedding(queries, width)
        self.class_predictor = nn.Linear(width, num_classes + 1)
        self.mask_head = EomtMaskHead(config)
        self.upscale_block = EomtScaleBlock(config)
        # A whole number: averages of weights copy it. How many blocks mask no query in evaluation, from the first on.
        self.register_buffer("unmasked", torch.zeros((), dtype=torch.long))

    def decode(self, backbone: Blocks, image: Tensor) -> tuple[tuple[Tensor, Tensor], Decoded]:
        """See `Decoder`; queries before each of the last blocks, in evaluation if they give masks, and at the end."""
        first, unmasked = backbone.depth - self.blocks, self._unmasked()
        if first < 0:
            raise InputError(f"decoder.blocks: {self.blocks}: the backbone has {backbone.depth}; use at most so many")
        tokens, after, layers = backbone.embed(image), [], []
        for number in range(backbone.depth):
            seen = None
            if number == first:
                tokens = tokens.joined_by(self.query.weight)
            if number >= first + unmasked:
                layers.append(self._answer(backbone.normed(tokens)))
                seen = self._seen(layers[-1].masks, tokens, number - first)
            tokens = backbone.step(number, tokens, seen)
            after.append(tokens)
        layers.append(self._answer(backbone.normed(tokens)))
        rows, columns = ((side + self.stride - 1) // self.stride for side in image.shape[-2:])
        cut = tuple(Queries(layer.classes, layer.masks[..., :rows, :columns]) for layer in layers)
        c4, c5 = (backbone.map_of(after, quarter, image) for quarter in (3, 4))
        return (c4, c5), Decoded(semantic_logits(cut[-1]), cut)

    def loss(self, output: NetworkOutput, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `MaskLoss`; the logits play no part in it."""
        return self.criterion(output.queries, labels, weights)

    def advance(self, done: float) -> None:
        """See `Decoder`."""
        self.done = done
        shares = [self.masked_share(block) for block in range(self.blocks)]
        self.unmasked.fill_(sum(share <= 0.5 for share in shares))

    def masked_share(self, block: int) -> float:
        """Which share of the queries a block, from 0, masks at this time of the training.

        1 until the masks of the block begin to go, then (1 - progress) ** annealing, 0 after a sixth of the training.
        """
        begin = FIRST + (LAST - FIRST) * block / max(self.blocks - 1, 1)
        progress = max((self.done - begin) / TAKES, 0.0)
        return (1 - progress) ** self.annealing if progress < 1 else 0.0

    def _unmasked(self) -> int:
        """The number of blocks, from the first on, before which nothing has to be predicted."""
        if self.training:
            return 0  # every block is supervised
        # An exported program cannot ask for a number; it is of a finished training, or found to differ.
        return self.blocks if torch.compiler.is_exporting() else int(self.unmasked)

    def _answer(self, tokens: Tokens) -> Queries:
        """Of the queries among tokens: classes (B,Q,K+1) and masks (B,Q,h,w) at the stride, of the padded image."""
        masks = torch.einsum("bqd,bdhw->bqhw", self.mask_head(tokens.guests), self.upscale_block(tokens.patches))
        return Queries(self.class_predictor(tokens.guests), masks)

    def _seen(self, masks: Tensor, tokens: Tokens, block: int) -> Tensor | None:
        """(B,1,N,N) bool: a masked query does not see the patches outside its mask, all others see all tokens."""
        share = self.masked_share(block) if self.training else 1.0
        if share == 0:
            return None
        inside = functional.interpolate(masks, tokens.grid, mode="bilinear").flatten(2) > 0
        if share < 1:
            inside = inside | (torch.rand(inside.shape[:2], device=inside.device) >= share)[..., None]
        count, queries = tokens.values.shape[1], inside.shape[1]
        seen = torch.ones(len(inside), count, count, dtype=torch.bool, device=inside.device)
        seen[:, -queries:, tokens.prefix : -queries] = inside
        return seen[:, None]
