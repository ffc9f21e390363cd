"""Which crops look alike: exact nearest neighbours of pooled tokens."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dhr.core.numerics import unit_vectors
from dhr.disk.atomic import write_atomically

AT_ONCE = 2**26  # cosines that are in memory together, 256 MB


def nearest(vectors: Tensor, count: int) -> Tensor:
    """The `count` other vectors of largest cosine for each of (N,D), nearest first: (N,count) int64.

    Exact; at most `AT_ONCE` cosines are in memory at a time.

    Raises:
        ValueError: there are not that many others.
    """
    if not 0 < count < len(vectors):
        raise ValueError(f"{count} neighbours of {len(vectors)} vectors")
    unit, rows = unit_vectors(vectors.float(), dim=1), max(AT_ONCE // len(vectors), 1)
    indices = []
    for start in range(0, len(unit), rows):
        cosines = unit[start : start + rows] @ unit.T
        own = torch.arange(len(cosines), device=unit.device)
        cosines[own, own + start] = -torch.inf
        indices.append(cosines.topk(count).indices)
    return torch.cat(indices)


def fingerprint(settings: Mapping[str, object]) -> str:
    """Digest of everything that an index depends on."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def stored_index(path: Path, settings: Mapping[str, object], make: Callable[[], Tensor]) -> Tensor:
    """The index in `path` if it was made with these settings, else what `make` gives, which is stored there."""
    digest = fingerprint(settings)
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("fingerprint") == digest:
                return file.get_tensor("nearest")
    except (FileNotFoundError, SafetensorError):
        pass  # not there, or not whole: made below
    index = make().cpu().contiguous()
    write_atomically(path, save({"nearest": index}, {"fingerprint": digest}))
    return index
