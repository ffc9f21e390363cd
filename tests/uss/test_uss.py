"""USS features: the weight-free extractor, several scales on one grid, and the files on disk."""

import math

import pytest
import torch
from torch import Tensor, nn

from dhr.core.colour import normalise
from dhr.network.multi_scale import multi_scale_features
from dhr.uss.colour import ColourExtractor

COLOURS = {"red": (200, 30, 40), "moss": (60, 120, 30), "dark moss": (30, 60, 15), "blue": (30, 50, 190)}


def plain(name: str, size: tuple[int, int] = (32, 32)) -> Tensor:
    return torch.tensor(COLOURS[name], dtype=torch.uint8)[:, None, None].expand(3, *size)


def picture(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return normalise(torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator))


def features(pixels: Tensor, **options: float) -> Tensor:
    return ColourExtractor(**options)(normalise(pixels)[None])[0]


class Shades(nn.Module):
    """Mean colour of each patch: features whose right values are plain to see."""

    patch_size, dim = 8, 3

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[-2] % 8 == image.shape[-1] % 8 == 0
        return nn.functional.avg_pool2d(image, 8)


@pytest.mark.parametrize("patch", [1, 3, 4, 7, 8])
def test_shape_and_length(patch: int) -> None:
    extractor = ColourExtractor(patch_size=patch, dim=20)
    made = extractor(picture(5 * patch, 7 * patch)[None])
    assert made.shape == (1, 20, 5, 7)
    torch.testing.assert_close(made.norm(dim=1), torch.ones(1, 5, 7))


def test_the_same_today_and_tomorrow() -> None:
    torch.manual_seed(1)
    first = ColourExtractor()(picture(32, 40)[None])
    torch.manual_seed(2)
    torch.rand(5)
    assert torch.equal(ColourExtractor()(picture(32, 40)[None]), first)
    assert not list(ColourExtractor().parameters())


def test_like_surfaces_are_close_and_unlike_ones_are_not() -> None:
    cell = {name: features(plain(name))[:, 4, 4] for name in COLOURS}
    assert float(cell["red"] @ features(plain("red", (48, 16)))[:, 2, 2]) == pytest.approx(1, abs=1e-4)
    assert float(cell["moss"] @ cell["dark moss"]) > 0.6  # lightness counts less than hue
    assert float(cell["red"] @ cell["blue"]) < 0.4
    assert float(cell["red"] @ cell["moss"]) < 0.4


def test_cosine_is_a_gaussian_of_the_distance() -> None:
    extractor = ColourExtractor(dim=4096)
    colours = torch.rand(6, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.4
    images = colours.expand(6, 3, 16, 16)
    descriptor = extractor.describe(images)[:, :, 1, 1]
    made = extractor((images - extractor.mean) / extractor.std)[:, :, 1, 1]
    expected = torch.exp(-(torch.cdist(descriptor, descriptor) ** 2) / 2 / 0.1**2)
    torch.testing.assert_close(made @ made.T, expected, atol=0.06, rtol=0)
    assert expected.min() < 0.8


def test_texture_counts() -> None:
    stripes = plain("moss").clone()
    stripes[:, ::2] = torch.tensor(COLOURS["dark moss"], dtype=torch.uint8)[:, None, None]
    across, down = features(stripes), features(stripes.transpose(1, 2))
    smooth = features(((stripes[:, ::2].float() + stripes[:, 1::2].float()) / 2).repeat(1, 2, 1).to(torch.uint8))
    assert float(across[:, 4, 4] @ smooth[:, 4, 4]) < 0.95
    assert float(across[:, 4, 4] @ down[:, 4, 4]) < 0.95
    no_texture = features(stripes, texture=0.0)[:, 4, 4] @ features(stripes.transpose(1, 2), texture=0.0)[:, 4, 4]
    assert float(no_texture) == pytest.approx(1, abs=1e-3)


def test_a_cell_sees_its_surroundings_only() -> None:
    pixels = plain("moss").clone()
    pixels[:, :, 16:] = plain("red")[:, :, 16:]
    made = features(pixels)
    torch.testing.assert_close(made[:, :, :3], features(plain("moss"))[:, :, :3], atol=1e-5, rtol=0)
    torch.testing.assert_close(made[:, :, 5:], features(plain("red"))[:, :, 5:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(32, 48), (33, 50), (5, 9)])
@pytest.mark.parametrize(("scales", "top"), [((1.0,), 1), ((2.0, 1.0, 0.5), 2), ((0.5, 1.0), 1), ((1.0, 3.0), 3)])
def test_the_grid_is_that_of_the_largest_scale(size: tuple[int, int], scales: tuple[float, ...], top: int) -> None:
    made = multi_scale_features(Shades(), picture(*size)[None], scales=scales, flip=True)[0]
    assert made.shape == (3, *(math.ceil(top * side / 8) for side in size))


def test_scales_are_averaged_in_place() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(3, 48, 64)
    made = multi_scale_features(Shades(), ramp[None], scales=(2.0, 1.0, 1.5, 0.5), flip=True)[0]
    expected = torch.linspace(-1, 1, 64)[None].expand(12, 64).reshape(12, 16, 4).mean(2)
    torch.testing.assert_close(made[:, :, 2:-2], expected[:, 2:-2].expand(3, -1, -1), atol=1e-3, rtol=0)


def test_one_scale_is_the_extractor_itself() -> None:
    image = picture(32, 40)
    single = multi_scale_features(Shades(), image[None], scales=(1.0,), flip=False)[0]
    torch.testing.assert_close(single, Shades()(image[None])[0])


def test_flip_averages_the_mirrored_image() -> None:
    image, extractor = picture(32, 40), ColourExtractor(patch_size=8)
    straight, mirrored = extractor(image[None])[0], extractor(image.flip(-1)[None])[0].flip(-1)
    assert float((straight - mirrored).abs().max()) > 1e-3
    both = multi_scale_features(extractor, image[None], scales=(1.0,), flip=True)[0]
    torch.testing.assert_close(both, (straight + mirrored) / 2)
