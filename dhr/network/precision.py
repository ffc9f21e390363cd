"""Matrix products of frozen models in a chosen precision."""

from contextlib import AbstractContextManager

import torch

from dhr.core.ranges import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def mixed(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Matrix products in "fp32", "bf16" or "fp16", whatever autocast surrounds the call."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")
