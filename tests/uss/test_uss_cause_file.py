"""CAUSE: the extractor, the files of its head, and what they refuse."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from cause_heads import Tokens, drawn, head_of, saved

from dhr.core.errors import InputError
from dhr.uss.cause import CauseExtractor, cause_file, load_cause
from dhr.uss.colour import ColourExtractor
from dhr.uss.head_file import ANSWER, answer_of
from dhr.uss.vit import VisionTransformer


def test_a_saved_head_gives_the_same_features(tmp_path: Path) -> None:
    head, codebook, image = head_of(cells=16, width=90), drawn(7, 12), drawn(1, 3, 32, 24)
    path = saved(tmp_path / "CAUSE_Toy.pt", cause_file(head, codebook, patch_size=4))
    extractor = CauseExtractor(tokens=Tokens(12, 4), weights=path)
    extractor.train()
    assert not extractor.training and not extractor.head.training
    made = extractor(image)
    assert (extractor.dim, extractor.patch_size, made.dtype, made.shape) == (90, 4, torch.float32, (1, 90, 8, 6))
    assert not made.requires_grad and not any(parameter.requires_grad for parameter in extractor.parameters())
    with torch.no_grad():
        torch.testing.assert_close(made, head(Tokens(12, 4)(image), codebook))


def test_the_head_computes_in_the_precision_of_its_tokens(tmp_path: Path) -> None:
    path = saved(tmp_path / "CAUSE.pt", cause_file(head_of(dim=32, cells=16), drawn(7, 32), patch_size=4))
    image = drawn(1, 3, 32, 24)
    exact, rough = (CauseExtractor(tokens=Tokens(32, 4, p), weights=path)(image) for p in ("fp32", "bf16"))
    assert rough.dtype == torch.float32
    difference = float((exact - rough).norm() / exact.norm())
    assert 1e-6 < difference < 0.1


def test_an_extractor_of_colour_tokens(tmp_path: Path) -> None:
    tokens = ColourExtractor(patch_size=4, dim=12)
    path = saved(tmp_path / "CAUSE.pt", cause_file(head_of(), drawn(7, 12), patch_size=4))
    made = CauseExtractor(tokens=tokens, weights=path, query_resize="1d")(drawn(2, 3, 16, 20))
    assert made.shape == (2, 90, 4, 5) and bool(torch.isfinite(made).all())


def released(dim: int, cells: int) -> dict[str, Any]:
    """The form of the released files: without the patch."""
    content = dict(cause_file(head_of(dim=dim, cells=cells), drawn(7, dim), patch_size=1))
    del content["patch_size"]
    return content


@pytest.mark.parametrize(
    ("dim", "cells", "tokens", "fitting"),
    [
        (384, 529, (768, 14), "dinov2_vits14$"),
        (384, 529, (384, 8), "dinov2_vits14$"),
        (384, 400, (384, 8), "dino_vits16$"),
        (768, 1600, (768, 16), "dino_vitb8$"),
        (768, 529, (384, 14), "dinov2_vitb14$"),
        (384, 100, (768, 14), "dinov2_vits14 or dino_vits8 or dino_vits16$"),
        (12, 9, (16, 4), "use the uss/tokens it was trained on$"),
    ],
)
def test_other_tokens_are_refused(tmp_path: Path, dim: int, cells: int, tokens: tuple[int, int], fitting: str) -> None:
    path = saved(tmp_path / "CAUSE.pt", released(dim, cells))
    message = (
        rf"CAUSE\.pt: a head for tokens of {dim} channels.*, not of {tokens[0]} channels and patch {tokens[1]}; .*"
    )
    with pytest.raises(InputError, match=message + fitting):
        load_cause(Path(path), Tokens(*tokens))


def test_tokens_of_the_same_shape_from_another_network_are_refused(tmp_path: Path) -> None:
    content = {**cause_file(head_of(), drawn(7, 12), patch_size=4), ANSWER: answer_of(Tokens(12, 4))}
    path = Path(saved(tmp_path / "CAUSE.pt", content))
    for precision in ("fp32", "bf16"):
        load_cause(path, Tokens(12, 4, precision))
    with pytest.raises(InputError, match=r"CAUSE\.pt: a head for tokens of another network of 12 channels, .*train a"):
        load_cause(path, ColourExtractor(patch_size=4, dim=12))


def test_the_patch_in_our_own_files_counts(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "CAUSE.pt", cause_file(head_of(dim=384, cells=400), drawn(7, 384), patch_size=8)))
    load_cause(path, Tokens(384, 8))  # crops of 160 pixels: what the number of queries says is wrong here
    with pytest.raises(InputError, match="of 384 channels and patch 8, not .* patch 16; use uss/tokens=dino_vits8$"):
        load_cause(path, Tokens(384, 16))


def test_missing_weights_say_how_to_get_them(tmp_path: Path) -> None:
    path = tmp_path / "CAUSE_VOC2012.pt"
    with pytest.raises(InputError, match=r"CAUSE_VOC2012\.pt: these weights are missing.*dhr\.train_uss uss=cause"):
        CauseExtractor(tokens=Tokens(12, 4), weights=str(path))


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    whole = Path(saved(tmp_path / "CAUSE.pt", released(12, 9))).read_bytes()
    for length in (0, 30, len(whole) // 2, len(whole) - 40):
        (tmp_path / "CAUSE.pt").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"CAUSE\.pt: not a checkpoint: it cannot be read safely"):
            load_cause(tmp_path / "CAUSE.pt", Tokens(12, 4))


class Bomb:
    """Unpickled, it would write a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sentinel,)


def test_files_run_no_code(tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    path = saved(tmp_path / "CAUSE.pt", {**released(12, 9), "more": Bomb(sentinel)})
    with pytest.raises(InputError, match="read safely"):
        load_cause(Path(path), Tokens(12, 4))
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": None}, "not a plain state dict"),
        ({"decoder": {}}, "no head of CAUSE"),
        ({"codebook": torch.rand(7)}, "no head of CAUSE"),
        ({"codebook": [1.0]}, "no head of CAUSE"),
        ({"codebook": torch.rand(7, 13)}, "codes of 13 channels, a head of 12"),
        ({"decoder": {"head_ema.query_pos": torch.rand(9, 12)}}, "24 missing: query_pos|24 missing"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = saved(tmp_path / "CAUSE.pt", {**released(12, 9), **change})
    with pytest.raises(InputError, match=rf"CAUSE\.pt: .*({message})"):
        load_cause(Path(path), Tokens(12, 4))


@pytest.mark.parametrize("content", [{"codebook": torch.rand(7, 12)}, {"state_dict": {}}])
def test_files_of_the_repository_are_sent_to_the_converter(tmp_path: Path, content: dict[str, Any]) -> None:
    path = saved(tmp_path / "segment_tr.pth", content)
    with pytest.raises(InputError, match=r"without decoder.*python scripts/convert_uss\.py cause"):
        load_cause(Path(path), Tokens(12, 4))


def test_values_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    content = released(12, 9)
    content["decoder"]["head_ema.query_pos"] = 3
    with pytest.raises(InputError, match="not a plain state dict"):
        load_cause(Path(saved(tmp_path / "CAUSE.pt", content)), Tokens(12, 4))
    with pytest.raises(InputError, match="read safely"):
        load_cause(Path(saved(tmp_path / "b.pt", {**content, "decoder": Fraction(1, 2)})), Tokens(12, 4))


def test_a_head_on_a_vision_transformer(tmp_path: Path) -> None:
    tokens = VisionTransformer(name="test_vit", weights="random")
    path = saved(tmp_path / "CAUSE.pt", cause_file(head_of(dim=64, cells=9), drawn(7, 64), patch_size=16))
    image = drawn(1, 3, 48, 32)
    made = CauseExtractor(tokens=tokens, weights=path)(image)
    head, codebook = load_cause(Path(path), tokens)
    with torch.no_grad():
        torch.testing.assert_close(made, head.eval()(tokens(image), codebook))
