"""DINOv2 and DINOv3 as backbones: tokens, maps of patches of any side, and weights from files."""

import math
from pathlib import Path

import pytest
import timm
import torch
from small_networks import image
from torch import Tensor

from dhr.backbone.vit import Vit, at_stride
from dhr.core.errors import InputError

VIT = "vit_small_patch16_224.augreg_in21k_ft_in1k"
DINO = (
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
)


@pytest.mark.parametrize("patch", [8, 14, 16])
@pytest.mark.parametrize("name", DINO)
def test_dino_gives_the_tokens_of_its_blocks(name: str, patch: int) -> None:
    backbone = Vit(name, embed=24, depth=4, heads=3, patch=patch).eval()
    picture = image(3 * patch - 1, 5 * patch - 2)[None]
    with torch.no_grad():
        cells = backbone.layers.forward_intermediates(picture, [1, 2, 3], norm=True, intermediates_only=True)
        tokens, after = backbone.embed(picture), []
        for number in range(backbone.depth):
            tokens = backbone.step(number, tokens)
            after.append(tokens)
        maps = backbone(picture)
    assert tokens.grid == (3, 5) and tokens.prefix == backbone.layers.num_prefix_tokens
    for each, block in zip(cells, (1, 2, 3), strict=True):
        torch.testing.assert_close(backbone.normed(after[block]).patches, each)
    sizes = [(math.ceil((3 * patch - 1) / stride), math.ceil((5 * patch - 2) / stride)) for stride in (4, 8, 16, 16)]
    assert [tuple(each.shape[2:]) for each in maps] == sizes
    if patch == 16:
        torch.testing.assert_close(maps[3], cells[2])


def test_maps_of_patches_of_another_side_lie_where_the_patches_lie() -> None:
    """A map that rises by one a pixel keeps its values, at the centre of every cell."""
    centres = (torch.arange(8) + 0.5) * 14
    cells = centres.expand(1, 1, 8, 8)
    for stride in (4, 8, 16):
        made = at_stride(cells, 14, stride)[0, 0, 0]
        assert len(made) == math.ceil(112 / stride)
        expected = ((torch.arange(len(made)) + 0.5) * stride).clamp(7, 105)
        torch.testing.assert_close(made, expected)


def of_meta(name: str, patch: int = 14) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random weights of a DINO by timm's names, and as Meta publishes them."""
    ours = {key: torch.rand_like(each) for key, each in timm.create_model(
        name, embed_dim=24, depth=4, num_heads=3, patch_size=patch, num_classes=0, img_size=37 * patch
    ).state_dict().items()}  # fmt: skip
    theirs = {key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma"): each for key, each in ours.items()}
    theirs["mask_token"] = torch.zeros(1, 24)
    if "dinov3" in name:
        theirs["storage_tokens"] = theirs.pop("reg_token")
        theirs["rope_embed.periods"] = torch.ones(2)
        theirs |= {f"blocks.{number}.attn.qkv.bias": torch.zeros(72) for number in range(4)}
        theirs |= {f"blocks.{number}.attn.qkv.bias_mask": torch.ones(72) for number in range(4)}
    elif "reg4" in name:
        theirs["register_tokens"] = theirs.pop("reg_token")
        shift = torch.rand(1, 1, 24)
        theirs |= {"pos_embed": torch.cat([shift, theirs["pos_embed"]], 1), "cls_token": theirs["cls_token"] - shift}
    return ours, theirs


@pytest.mark.parametrize("name", DINO)
def test_weights_of_dino_from_a_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As Meta publishes them and by timm's names, all of them; other patches are resampled, the positions never."""
    native = 16 if "dinov3" in name else 14
    ours, theirs = of_meta(name, native)
    for number, content in enumerate((ours, theirs)):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        found = Vit(name, embed=24, depth=4, heads=3, patch=native, weights=str(path)).layers.state_dict()
        assert found.keys() == ours.keys()
        assert all(torch.equal(found[key], each) or key == "cls_token" for key, each in ours.items())
        torch.testing.assert_close(found["cls_token"], ours["cls_token"])
        coarse = Vit(name, embed=24, depth=4, heads=3, patch=8, weights=str(path)).layers.state_dict()
        assert [key for key, each in ours.items() if coarse[key].shape != each.shape] == ["patch_embed.proj.weight"]
        torch.save({**content, "blocks.0.more": torch.ones(2)}, path)
        with pytest.raises(InputError, match=rf"{path}: does not fit this network: 1 unexpected: blocks\.0\.more"):
            Vit(name, embed=24, depth=4, heads=3, patch=native, weights=str(path))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "word", "right"), [(VIT, "pretrained", "imagenet"), (DINO[0], "imagenet", "pretrained")]
)
def test_weights_are_called_what_they_saw(name: str, word: str, right: str) -> None:
    with pytest.raises(InputError, match=rf"backbone\.weights={word}: timm's .* use backbone\.weights={right}, a file"):
        Vit(name, embed=24, depth=4, heads=3, weights=word)
