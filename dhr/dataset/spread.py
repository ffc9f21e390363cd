"""Some of many, spread evenly: for a quick look at a large set."""

import numpy as np


def spread(total: int, limit: int) -> np.ndarray:
    """(min(limit, total)) int64: places from 0 to total - 1, rising, at equal distances but for rounding."""
    count = min(limit, total)
    return ((np.arange(count) + 0.5) * total / max(count, 1)).astype(np.int64)
