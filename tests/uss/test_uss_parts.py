"""Contracts that every option of `uss` and `uss/tokens` keeps; new options are found by their YAML file."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from dhr.config.compose import compose
from dhr.config.parts import build, check_signatures
from dhr.config.tree import options
from dhr.network.multi_scale import multi_scale_features
from dhr.uss.cause import CauseHead, cause_file
from dhr.uss.stego import StegoHead, stego_file

# A vision transformer is looked at in small and with random weights: nothing is downloaded here.
SMALL = ("uss.tokens.name=test_vit", "uss.tokens.weights=random")
HEADS = {  # methods with a file of weights, and such a file for tokens of some width
    "cause": lambda dim, patch: cause_file(CauseHead(dim=dim, cells=16), torch.randn(20, dim), patch_size=patch),
    "stego": lambda dim, patch: stego_file(StegoHead(dim=dim), patch_size=patch),
}


@cache
def composed(*words: str) -> Any:
    return compose("train", list(words)).uss


def cases() -> list[tuple[str, tuple[str, ...]]]:
    """Every option whose weights can be made here, with each kind of tokens that it takes."""
    found = []
    for name in options("uss"):
        uss = composed(f"uss={name}")
        if uss.extractor is not None and (uss.weights is None or name in HEADS):
            small = SMALL if uss.tokens is None or uss.tokens._target_.endswith(".VisionTransformer") else SMALL[1:]
            found += [(name, words) for words in ([()] if uss.tokens is None else [small, ("uss/tokens=colour",)])]
    return found


def extractor_of(option: str, words: tuple[str, ...], folder: Path) -> Any:
    """The extractor of an option, with a head where it needs one; the same however often it is built."""
    torch.manual_seed(0)  # for random weights, which stand for a file
    path = folder / f"{option}.pt"
    uss = composed(f"uss={option}", *words, *([f"uss.weights={path}"] if option in HEADS else []))
    if option in HEADS:
        tokens = build(uss.tokens)
        torch.save(HEADS[option](tokens.dim, tokens.patch_size), path)
    torch.manual_seed(0)
    return build(uss.extractor).eval()


@pytest.mark.parametrize(("option", "words"), cases())
def test_extractors_keep_the_protocol(option: str, words: tuple[str, ...], tmp_path: Path) -> None:
    extractor, second = (extractor_of(option, words, tmp_path) for _ in range(2))
    patch = extractor.patch_size
    image = torch.randn(2, 3, 4 * patch, 6 * patch, generator=torch.Generator().manual_seed(0))
    features = extractor(image)
    assert features.shape == (2, extractor.dim, 4, 6) and features.dtype == torch.float32
    assert bool(torch.isfinite(features).all()) and not features.requires_grad
    assert torch.equal(second(image), features)
    # One image alone is summed in another order than in a batch, through fifty convolutions.
    torch.testing.assert_close(extractor(image[1:])[0], features[1], atol=1e-4, rtol=1e-4)
    assert torch.equal(extractor.train()(image), features) and not any(
        each.requires_grad for each in extractor.parameters()
    )


@pytest.mark.parametrize(("option", "words"), cases())
def test_features_of_any_size_are_rounded_up_to_patches(option: str, words: tuple[str, ...], tmp_path: Path) -> None:
    extractor = extractor_of(option, words, tmp_path)
    patch = extractor.patch_size
    image = torch.randn(3, 3 * patch + 1, 5 * patch, generator=torch.Generator().manual_seed(0))
    assert multi_scale_features(extractor, image[None], scales=(1.0,), flip=True).shape == (1, extractor.dim, 4, 5)
    assert multi_scale_features(extractor, image[None], scales=(0.5, 2.0), flip=False).shape == (
        1,
        extractor.dim,
        7,
        10,
    )


@pytest.mark.parametrize("tokens", options("uss/tokens"))
def test_every_backbone_can_be_chosen(tokens: str) -> None:
    cfg = compose("train", ["uss=cause", f"uss/tokens={tokens}"])
    check_signatures(cfg)
    assert cfg.uss.extractor.tokens == cfg.uss.tokens


def test_stores_of_options_are_apart() -> None:
    stores = [composed(f"uss={name}").store for name in options("uss")]
    assert len(set(stores)) == len(stores) and all("{split}" in store for store in stores)
