"""Tokens of a vision transformer between two of its blocks, and guests that take part in its last ones."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """What a vision transformer hands from block to block.

    Attributes:
        values: (B,N,D): the tokens of the whole image, such as class and registers, then the patches row by row, then
            guests.
        grid: rows and columns (h,w) of the patches.
        prefix: number of tokens of the whole image.
        turns: (N-prefix,2d) sine and cosine by which attention turns each token behind the prefix (rotary positions);
            None where positions were added before the first block.
        queries: number of guests.
    """

    values: Tensor
    grid: tuple[int, int]
    prefix: int
    turns: Tensor | None = None
    queries: int = 0

    @property
    def patches(self) -> Tensor:
        """(B,D,h,w)."""
        rows, columns = self.grid
        # Not a slice: in an export, its length would be a formula of its ends, and formulas of that grow without end.
        return self.values.narrow(1, self.prefix, rows * columns).mT.unflatten(2, self.grid)

    @property
    def guests(self) -> Tensor:
        """(B,Q,D), Q = 0 where there are none."""
        rows, columns = self.grid
        return self.values.narrow(1, self.prefix + rows * columns, self.queries)

    def joined_by(self, guests: Tensor) -> "Tokens":
        """With guests (Q,D), the same ones for every image; they have no position.

        >>> alone = Tokens(torch.zeros(2, 7, 4), grid=(2, 3), prefix=1, turns=torch.ones(6, 8))
        >>> tokens = alone.joined_by(torch.ones(5, 4))
        >>> tokens.patches.shape, tokens.guests.shape, tokens.turns[-1].tolist()
        (torch.Size([2, 4, 2, 3]), torch.Size([2, 5, 4]), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
        """
        values = torch.cat([self.values, guests.to(self.values.dtype).expand(self.values.shape[0], -1, -1)], 1)
        joined = replace(self, values=values, queries=guests.shape[0])
        if self.turns is None:
            return joined
        sine, cosine = self.turns.new_zeros(len(guests), self.turns.shape[1]).chunk(2, -1)
        return replace(joined, turns=torch.cat([self.turns, torch.cat([sine, cosine + 1], -1)]))
