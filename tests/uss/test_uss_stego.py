"""STEGO: the head against a plain loop, its files, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dhr.core.errors import InputError
from dhr.uss.colour import ColourExtractor
from dhr.uss.stego import StegoExtractor, StegoHead, load_stego, stego_file

TOKENS = ColourExtractor(patch_size=4, dim=12)


def head_of(dim: int = 12, width: int = 70) -> StegoHead:
    torch.manual_seed(0)
    head = StegoHead(dim=dim, width=width).eval()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    return head


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_the_head_is_the_plain_one() -> None:
    head, tokens = head_of(width=5), drawn(2, 12, 3, 4)
    with torch.no_grad():
        made = head(tokens)
        for image, features in zip(tokens, made, strict=True):
            for cell, code in zip(image.flatten(1).T, features.flatten(1).T, strict=True):
                linear, (inner, _, outer) = head.cluster1[0], head.cluster2
                hidden = (inner.weight[:, :, 0, 0] @ cell + inner.bias).clamp_min(0)
                expected = linear.weight[:, :, 0, 0] @ cell + linear.bias
                expected = expected + outer.weight[:, :, 0, 0] @ hidden + outer.bias
                torch.testing.assert_close(code, expected, rtol=1e-4, atol=1e-4)


def test_each_branch_drops_whole_channels_of_its_own() -> None:
    head = StegoHead(dim=40, width=40).train()
    with torch.no_grad():
        for convolution in (head.cluster1[0], head.cluster2[0], head.cluster2[2]):
            convolution.weight.copy_(torch.eye(40)[:, :, None, None])
            convolution.bias.zero_()
    torch.manual_seed(0)
    made = head(torch.ones(50, 40, 2, 2)) * 0.9  # by channel: 0 dropped twice, 1 once, 2 never
    assert torch.equal(made, made[:, :, :1, :1].expand_as(made))
    shares = [float((made[:, :, 0, 0].round() == count).float().mean()) for count in range(3)]
    assert shares == pytest.approx([0.01, 0.18, 0.81], abs=0.03)


def test_the_head_learns() -> None:
    head = head_of()
    head(drawn(2, 12, 3, 3)).square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


def test_a_saved_head_gives_the_same_features(tmp_path: Path) -> None:
    head, image = head_of(), drawn(2, 3, 16, 20)
    path = saved(tmp_path / "STEGO_Toy.pt", stego_file(head, patch_size=4))
    extractor = StegoExtractor(tokens=TOKENS, weights=str(path)).train()
    made = extractor(image)
    assert (extractor.dim, extractor.patch_size, made.dtype, made.shape) == (70, 4, torch.float32, (2, 70, 4, 5))
    assert not extractor.head.training and not made.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(made, head(TOKENS(image)))


def test_the_released_form(tmp_path: Path) -> None:
    shapes = {
        "cluster1": {"0.weight": (70, 768, 1, 1), "0.bias": (70,)},
        "cluster2": {
            "0.weight": (768, 768, 1, 1), "0.bias": (768,), "2.weight": (70, 768, 1, 1), "2.bias": (70,)
        },
    }  # fmt: skip
    released = {part: {name: drawn(*shape) for name, shape in inner.items()} for part, inner in shapes.items()}
    path = saved(tmp_path / "STEGO_VOC2012.pt", released)
    head = load_stego(path, ColourExtractor(dim=768))
    assert torch.equal(head.cluster2[2].weight, released["cluster2"]["2.weight"])
    written = stego_file(head, patch_size=8)
    assert {part: {name: tuple(x.shape) for name, x in written[part].items()} for part in shapes} == shapes
    with pytest.raises(
        InputError, match="tokens of 768 channels, not of 12 .*dinov2_vitb14 or dino_vitb8 or dino_vitb16$"
    ):
        load_stego(path, TOKENS)


def test_another_patch_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "STEGO.pt", stego_file(head_of(), patch_size=8))
    with pytest.raises(InputError, match=r"STEGO\.pt: a head for tokens of 12 channels and patch 8, not .* patch 4; "):
        load_stego(path, TOKENS)


def test_missing_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"STEGO_Toy\.pt: these weights are missing.*dhr\.train_uss uss=stego"):
        StegoExtractor(tokens=TOKENS, weights=str(tmp_path / "STEGO_Toy.pt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cluster2": None}, "not a plain state dict"),
        ({"cluster1": {}}, "no head of STEGO"),
        ({"cluster1": {"0.weight": torch.rand(70)}}, "no head of STEGO"),
        ({"cluster2": {}}, "4 missing: cluster2.0.bias"),
        ({"cluster1": {"0.weight": torch.rand(70, 13, 1, 1), "0.bias": torch.rand(70)}}, "misshapen"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = saved(tmp_path / "STEGO.pt", {**stego_file(head_of(), patch_size=4), **change})
    with pytest.raises(InputError, match=rf"STEGO\.pt: .*{message}"):
        load_stego(path, TOKENS)


def test_torn_files_and_files_of_another_method_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "STEGO.pt", stego_file(head_of(), patch_size=4))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"STEGO\.pt: not a checkpoint: it cannot be read safely"):
        load_stego(path, TOKENS)
    with pytest.raises(InputError, match=r"without cluster1, cluster2; .*convert_uss\.py stego"):
        load_stego(saved(tmp_path / "other.pt", {"decoder": {}, "codebook": torch.rand(3, 12)}), TOKENS)
