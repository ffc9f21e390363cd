"""Features of earlier steps, a limited number per code, as candidates of the contrastive loss."""

import torch
from torch import Tensor


class Bank:
    """At most `limit` vectors per code, the newest. All processes that add the same hold the same.

    Args:
        limit: per code; 0 keeps nothing.
        width: length of the vectors.
    """

    def __init__(self, *, limit: int, width: int) -> None:
        self.limit = limit
        self.codes = torch.zeros(0, dtype=torch.int64)
        self.vectors = torch.zeros(0, width)

    def __len__(self) -> int:
        return len(self.codes)

    def add(self, codes: Tensor, vectors: Tensor, *, key: int) -> None:
        """Adds a random half, rounded up, of the vectors; of each code only the newest `limit` stay.

        Args:
            codes: (N) index of the code of every vector.
            vectors: (N,E), without gradient.
            key: seeds the choice of the half.
        """
        order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(key))
        half = order[: (len(codes) + 1) // 2].to(codes.device)
        self.codes = torch.cat([self.codes.to(codes.device), codes[half]])
        self.vectors = torch.cat([self.vectors.to(vectors), vectors[half]])
        backwards = self.codes.flip(0)
        order = backwards.argsort(stable=True)
        _, counts = backwards[order].unique_consecutive(return_counts=True)
        starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        later = torch.empty_like(self.codes)  # how many later entries have the same code, from the end
        later[order] = torch.arange(len(self.codes), device=self.codes.device) - starts
        newest = later.flip(0) < self.limit
        self.codes, self.vectors = self.codes[newest], self.vectors[newest]

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"codes": self.codes, "vectors": self.vectors}

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes what a checkpoint kept."""
        self.codes, self.vectors = state["codes"], state["vectors"]
