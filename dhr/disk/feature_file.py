"""One file of features: an fp16 tensor (D,h,w), written by torch (`pt`, as published) or as `safetensors`.

Nothing that is read runs code: `pt` files are read as tensors only, `safetensors` hold nothing but numbers.
"""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from dhr.core.errors import InputError

Form = Literal["pt", "safetensors"]
FORMS: tuple[Form, ...] = ("pt", "safetensors")
Shape = tuple[int, int, int]
KEY = "features"  # the only tensor of a safetensors file
FLOATS = ("F16", "BF16", "F32")  # as safetensors calls them
EXPONENT = np.int16(0x7C00)  # bits of a half number, all set in NaN and infinity alone
UNREADABLE = (RuntimeError, EOFError, UnpicklingError, ValueError, OSError, SafetensorError)


def encode(features: Tensor, form: Form) -> bytes:
    """(D,h,w) as the bytes of a file, fp16."""
    # A copy of its own: torch.save would write all of the storage that a view looks at.
    values = features.to("cpu", torch.float16, copy=True).contiguous()
    if form == "safetensors":
        return save({KEY: values})
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def shape_in(path: Path, cure: str) -> Shape:
    """Shape of the features in a file, without reading its numbers.

    Raises:
        InputError: missing, truncated, or something else than floating point numbers of three axes.
    """
    with _refusing(path, cure):
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                header = file.get_slice(KEY) if KEY in set(file.keys()) else None
                shape = tuple(header.get_shape()) if header is not None and header.get_dtype() in FLOATS else None
        else:
            # torch maps only the zip archives that it writes today; anything else, also a truncated one, is read whole.
            shape = _shape(torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)), path)
    return _three(shape, path, cure)


def values_in(path: Path, cure: str) -> Tensor:
    """(D,h,w) fp16.

    Raises:
        InputError: as `shape_in`, and where a number is NaN or infinite, in fp16 at the latest.
    """
    with _refusing(path, cure):
        if path.suffix == ".safetensors":
            content: Any = load_file(path).get(KEY)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    _three(_shape(content, path), path, cure)
    values: Tensor = content.to(torch.float16).contiguous()
    # Ten times as fast as torch.isfinite, which takes half numbers one by one.
    if (values.view(torch.int16).numpy() & EXPONENT).max() == EXPONENT:
        raise InputError(f"{path}: holds NaN or infinity; delete it and {cure}")
    return values


def _shape(content: object, path: Path) -> tuple[int, ...] | None:
    """Shape of a dense floating point tensor; None of anything else, and of a tensor with more bytes than its file."""
    if not isinstance(content, Tensor) or content.layout != torch.strided or not content.is_floating_point():
        return None
    return tuple(content.shape) if content.nbytes <= path.stat().st_size else None


def _three(shape: tuple[int, ...] | None, path: Path, cure: str) -> Shape:
    if shape is None or len(shape) != 3 or 0 in shape:
        stated = "" if shape is None else f"shape {list(shape)}: "
        raise InputError(f"{path}: {stated}not a feature tensor (D,h,w); delete it and {cure}")
    return shape[0], shape[1], shape[2]


@contextmanager
def _refusing(path: Path, cure: str) -> Iterator[None]:
    """Turns what the libraries raise on a missing or broken file into an InputError with the cure."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: these USS features are missing; {cure}") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: unreadable ({type(error).__name__}); delete it and {cure}") from None
