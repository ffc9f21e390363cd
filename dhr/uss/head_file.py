"""Which tokens the head in a file was made for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dhr.core.errors import InputError
from dhr.core.extractor import Extractor
from dhr.disk.weights.state import read_checkpoint

SIZES = {384: "s", 768: "b", 1024: "l", 1536: "g"}
PATCH_SIZES = {529: 14, 400: 16, 1600: 8}  # by number of queries: 322 / 14 or 320 / 16 or 320 / 8, squared
PATCH = "patch_size"  # a number that our files have beside the released ones
ANSWER = "token_answer"  # (D) of our files: see `answer_of`
SAME = 0.95  # least cosine of two answers of one network; another precision or device changes less than a hundredth


def read_head(path: Path, method: str, parts: tuple[str, ...]) -> Mapping[str, Any]:
    """The parts of a file of a head.

    Args:
        path: of the file.
        method: name of the config that uses it, for messages.
        parts: names that have to be there.

    Raises:
        InputError: missing, not whole, or without one of the parts.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: these weights are missing; put the authors' file of this data set there, or make it with "
            f"python -m dhr.train_uss uss={method} and the same dataset and uss/tokens"
        )
    content = read_checkpoint(path)
    lacking = ", ".join(name for name in parts if name not in content)
    if lacking:
        raise InputError(
            f"{path}: no weights of uss={method}: without {lacking}; a file of the method's own repository is "
            f"converted by python scripts/convert_uss.py {method}"
        )
    return content


def refuse_other_tokens(path: Path, content: Mapping[str, Any], dim: int, tokens: Extractor, *, cells: int = 0) -> None:
    """Refuses tokens of another width, patch size or network than those that a head was trained on.

    Files that were made here hold the patch size, and what the tokens answered to one picture. In released files the
    number of queries determines the patch size, if the width is that of a known backbone.

    Args:
        path: of the file.
        content: of the file.
        dim: width of the head.
        tokens: the backbone under the head.
        cells: number of its queries, 0 if it has none.

    Raises:
        InputError: names the backbones that fit.
    """
    released = PATCH_SIZES.get(cells) if dim in SIZES else None
    stored = content.get(PATCH)
    patch = int(stored) if isinstance(stored, Tensor) and stored.numel() == 1 else released
    if tokens.dim == dim and patch in (None, tokens.patch_size):
        _refuse_another_network(path, content.get(ANSWER), tokens)
        return
    wanted = f"{dim} channels" + (f" and patch {patch}" if patch else "")
    names = fitting(dim, patch)
    cure = f"use uss/tokens={' or '.join(names)}" if names else "use the uss/tokens it was trained on"
    raise InputError(
        f"{path}: a head for tokens of {wanted}, not of {tokens.dim} channels and patch {tokens.patch_size}; {cure}"
    )


@torch.no_grad()
def answer_of(tokens: Extractor) -> Tensor:
    """(D) mean token of a picture that is always the same: it tells networks and their weights apart.

    Args:
        tokens: on the CPU, or where it moves by itself.
    """
    patch = tokens.patch_size
    picture = torch.linspace(-2, 2, 3 * 2 * patch * 3 * patch).sin().mul(2).view(1, 3, 2 * patch, 3 * patch)
    return tokens(picture).float().mean((0, 2, 3)).cpu()


def _refuse_another_network(path: Path, answer: object, tokens: Extractor) -> None:
    if not isinstance(answer, Tensor) or answer.shape != (tokens.dim,):
        return
    cosine = float(functional.cosine_similarity(answer.float(), answer_of(tokens), dim=0))
    if cosine < SAME:
        raise InputError(
            f"{path}: a head for tokens of another network of {tokens.dim} channels, or of other weights (cosine of "
            f"their answers {cosine:.2f}); use the uss/tokens and weights it was trained on, or train a head for these"
        )


def fitting(dim: int, patch: int | None) -> list[str]:
    """Options of uss/tokens that have `dim` channels and, unless that is None, this patch."""
    size = SIZES.get(dim)
    patches = {"dinov2": (14,), "dino": (8, 16) if size in ("s", "b") else ()}
    return [
        f"{family}_vit{size}{offered}"
        for family, sizes in patches.items()
        for offered in sizes
        if size is not None and patch in (None, offered)
    ]
