"""Files of the CAUSE and STEGO repositories in the form that uss=cause and uss=stego read.

    python scripts/convert_uss.py cause --segment segment_tr.pth --modular modular.npy --to weights/CAUSE_VOC2012.pt
    python scripts/convert_uss.py stego --checkpoint cocostuff27.ckpt --to weights/STEGO_COCO2014.pt

Reads tensors only. Ends with exit code 2 and a message where a file is something else.
"""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.disk.atomic import write_atomically
from dhr.disk.weights.state import only_tensors, read_checkpoint
from dhr.uss.cause import PREFIX, cause_in
from dhr.uss.head_file import PATCH_SIZES, SIZES, fitting
from dhr.uss.stego import PARTS, stego_in


def convert_cause(segment: Path, modular: Path) -> dict[str, Any]:
    """Content of CAUSE_<dataset>.pt: the averaged head of segment_tr.pth and the codes of modular.npy.

    Raises:
        InputError: a file is missing, not whole, or something else.
    """
    weights = only_tensors(_read(segment), segment)
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    decoder = {name: value for name, value in weights.items() if name.startswith(PREFIX)}
    if f"{PREFIX}f1.weight" in decoder:
        raise InputError(f"{segment}: the head of CAUSE-MLP, which has no attention; use segment_tr.pth of CAUSE-TR")
    content = {"decoder": decoder, "codebook": _codes(modular)}
    cause_in(content, segment)
    return content


def convert_stego(checkpoint: Path) -> dict[str, Any]:
    """Content of STEGO_<dataset>.pt: the two branches of the head in a checkpoint of Lightning or its state dict.

    Raises:
        InputError: the file is missing, not whole, or something else.
    """
    content = _read(checkpoint)
    weights = only_tensors(content.get("state_dict", content), checkpoint)
    parts = {part: _below(weights, f"net.{part}.") for part in PARTS}
    if not parts["cluster1"]:
        raise InputError(f"{checkpoint}: no checkpoint of STEGO: has no net.cluster1; use one of its training")
    if not parts["cluster2"]:
        raise InputError(f"{checkpoint}: a linear head (projection_type); uss=stego has the non-linear one")
    stego_in(parts, checkpoint)
    return parts


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return read_checkpoint(path)
    except InputError as error:
        # Checkpoints of Lightning hold the settings of their run as objects, which would run code when read.
        save = f"torch.load('{path}', map_location='cpu', weights_only=False)['state_dict']"
        raise InputError(
            f"{error}; if it is a whole checkpoint of Lightning that you trust, save its weights alone where omegaconf "
            f"is installed: python -c \"import torch; torch.save({save}, 'weights.pt')\" and convert weights.pt"
        ) from None


def _codes(path: Path) -> Tensor:
    if not path.is_file():
        raise InputError(f"{path}: no such file; it lies beside the clusterbook's training: modularity/.../modular.npy")
    try:
        codes = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: no array of numbers ({error}); use the modular.npy of train_mediator") from None
    if not isinstance(codes, np.ndarray) or codes.ndim != 2 or codes.dtype.kind != "f" or not np.isfinite(codes).all():
        raise InputError(f"{path}: no codes (C,D) of finite numbers; use the modular.npy of train_mediator")
    return torch.from_numpy(codes.astype(np.float32))


def _save(path: Path, content: Mapping[str, Any], *, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(f"{path}: is there already; add --overwrite, or give another name")
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def _use(method: str, dim: int, cells: int) -> str:
    """The options that use such a head."""
    tokens = fitting(dim, PATCH_SIZES.get(cells) if dim in SIZES else None)
    return f"uss={method} uss/tokens={' or '.join(tokens) or 'those it was trained on'}"


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    methods = parser.add_subparsers(dest="method", required=True)
    files = {
        "cause": {"segment": "segment_tr.pth", "modular": "modular.npy"},
        "stego": {"checkpoint": "checkpoint of its training, or the state dict in it"},
    }
    for method, sources in files.items():
        inner = methods.add_parser(method)
        for name, what in sources.items():
            inner.add_argument(f"--{name}", type=Path, required=True, help=what)
        inner.add_argument("--to", type=Path, required=True, help="file to write")
        inner.add_argument("--overwrite", action="store_true")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Converts one head; 2 where that cannot be done."""
    given = _arguments(words)
    try:
        if given.method == "cause":
            content = convert_cause(given.segment, given.modular)
            cells, dim = content["decoder"][f"{PREFIX}query_pos"].shape
        else:
            content = convert_stego(given.checkpoint)
            cells, dim = 0, content["cluster1"]["0.weight"].shape[1]
        _save(given.to, content, overwrite=given.overwrite)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{given.to}: {_use(given.method, dim, cells)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
