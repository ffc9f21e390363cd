"""One window cuts image, mask and feature map: what is painted on a place stays on it."""

from dataclasses import replace
from fractions import Fraction

import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dhr.core.labels import IGNORE
from dhr.core.sample import LoadedBatch, Sample
from dhr.core.window import StoredFeatures, Window
from dhr.dataset.transforms import TrainTransform, keyed_random


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Any scale and flip, cut out of the image or padded, at any place of the canvas."""
    canvas = (draw(st.integers(16, 40)), draw(st.integers(16, 40)))
    scaled = (draw(st.integers(16, 60)), draw(st.integers(16, 60)))
    length = [min(side, room) for side, room in zip(scaled, canvas, strict=True)]
    start = [draw(st.integers(0, side - part)) for side, part in zip(scaled, length, strict=True)]
    place = [draw(st.integers(0, room - part)) for room, part in zip(canvas, length, strict=True)]
    source = (start[0], start[1], length[0], length[1])
    return Window(scaled=scaled, flip=draw(st.booleans()), source=source, place=(place[0], place[1]), canvas=canvas)


def painted(size: tuple[int, int]) -> Tensor:
    """(2,h,w): every cell holds where its centre lies, as a share of the image height and width."""
    rows = ((torch.arange(size[0]) + 0.5) / size[0])[:, None].expand(size)
    columns = ((torch.arange(size[1]) + 0.5) / size[1])[None].expand(size)
    return torch.stack([rows, columns])


def sampled(window: Window, features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features of one crop, 0 at cells whose centre lies off the image."""
    return StoredFeatures.stack([window.on_map(features, grid)]).sampled()[0] * window.valid_cells(grid)


@settings(max_examples=60, deadline=None)
@given(window=windows())
def test_a_batch_knows_which_crops_show_their_whole_image(window: Window) -> None:
    places = torch.arange(window.scaled[0] * window.scaled[1]).view(window.scaled)
    shown = set(window.paste(places, -1).flatten().tolist()) - {-1}
    pixels, mask = torch.zeros(3, *window.canvas, dtype=torch.uint8), torch.zeros(window.canvas, dtype=torch.uint8)
    batch = LoadedBatch.stack([Sample("a", pixels, torch.ones(2), mask, window)])
    assert batch.whole.tolist() == [len(shown) == places.numel()]


@settings(max_examples=60, deadline=None)
@given(window=windows(), stored=st.tuples(st.integers(10, 40), st.integers(10, 40)))
def test_image_and_feature_map_are_cut_alike(window: Window, stored: tuple[int, int]) -> None:
    canvas = window.paste(painted(window.scaled), -1.0)
    valid = window.valid()
    assert bool(((canvas >= 0).all(0) == valid).all())
    features = sampled(window, painted(stored).half(), window.canvas)
    # Half a stored cell at the rim cannot be known, and half precision keeps three digits.
    error = (features - canvas).abs().amax(0)
    inner = valid & ((canvas > 0.5 / min(stored)) & (canvas < 1 - 0.5 / min(stored))).all(0)
    assert bool((error[inner] < 2e-3).all())
    assert bool((error[valid] < 0.51 / min(stored)).all())
    assert bool((features[:, ~valid] == 0).all())


@settings(max_examples=40, deadline=None)
@given(window=windows(), stride=st.sampled_from([2, 4, 5]))
def test_cells_of_a_coarse_grid_show_the_pixels_under_them(window: Window, stride: int) -> None:
    grid = (window.canvas[0] // stride, window.canvas[1] // stride)
    features = sampled(window, painted(window.scaled), grid)
    canvas, cells = window.paste(painted(window.scaled), -1.0), window.valid_cells(grid)
    assert bool((cells == torch.from_numpy(reference.centred(window.valid().numpy(), grid))).all())
    for i, j in reference.places(grid):
        y, x = (i + 0.5) * window.canvas[0] / grid[0], (j + 0.5) * window.canvas[1] / grid[1]
        if cells[i, j]:
            near = canvas[:, int(y), int(x)]
            assert bool(((features[:, i, j] - near).abs() <= 0.51 / torch.tensor(window.scaled) + 1e-5).all())
        else:
            assert bool((features[:, i, j] == 0).all())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.tuples(st.integers(20, 60), st.integers(20, 60)))
def test_training_crops_keep_image_mask_and_features_together(seed: int, size: tuple[int, int]) -> None:
    coordinates = (painted(size) * 250).round()
    pixels = torch.cat([coordinates, torch.full((1, *size), 128.0)]).to(torch.uint8)
    transform = TrainTransform(crop_size=32, long_side=(24, 48), flip=0.5, jitter=(0, 0, 0, 0))
    crop = transform(pixels, pixels[1], keyed_random(seed))
    valid, window = crop.window.valid(), crop.window
    assert crop.window.canvas == (32, 32)
    assert 24 <= max(window.scaled) <= 48
    assert abs(window.scaled[0] / window.scaled[1] - size[0] / size[1]) < 0.06 * size[0] / size[1]
    assert bool((crop.pixels[:, ~valid] == 0).all())
    assert bool((crop.mask[~valid] == IGNORE).all())
    step = 250 / min(window.scaled) + 250 / min(size) + 2  # a pixel of either grid, and the roundings
    shown = torch.stack([crop.mask, crop.pixels[1]]).float()
    assert bool(((shown[0] - shown[1]).abs()[valid] <= step).all())
    features = sampled(window, painted(size) * 250, (32, 32))
    assert bool(((features - crop.pixels[:2].float()).abs()[:, valid] <= step).all())


def test_a_window_may_flip() -> None:
    transform = TrainTransform(crop_size=8, long_side=(8, 8), flip=0.5, jitter=(0, 0, 0, 0))
    assert {transform.draw((8, 8), keyed_random(key)).flip for key in range(20)} == {True, False}


@settings(max_examples=40, deadline=None)
@given(window=windows(), stored=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_labels_are_those_under_the_centres_of_pixels(window: Window, stored: tuple[int, int]) -> None:
    labels = torch.arange(stored[0] * stored[1]).remainder(251).to(torch.uint8).view(stored)
    found = window.paste_labels(labels, IGNORE)
    resized = torch.empty(window.scaled, dtype=torch.uint8)
    for y, x in reference.places(window.scaled):
        row, column = Fraction(2 * y + 1, 2 * window.scaled[0]), Fraction(2 * x + 1, 2 * window.scaled[1])
        resized[y, x] = labels[int(row * stored[0]), int(column * stored[1])]
    assert torch.equal(found, window.paste(resized, IGNORE))


def test_flipping_mirrors_the_place_in_the_image() -> None:
    image = torch.arange(12.0).view(1, 2, 6)
    window = Window(scaled=(2, 6), flip=True, source=(0, 1, 2, 3), place=(1, 0), canvas=(4, 3))
    assert window.paste(image, -1.0)[0].tolist() == [[-1] * 3, [4, 3, 2], [10, 9, 8], [-1] * 3]
    torch.testing.assert_close(sampled(window, image, (4, 3)), window.paste(image, 0.0))


def test_the_whole_window_changes_nothing() -> None:
    features = torch.rand(3, 6, 9)
    window = Window.whole((6, 9))
    assert bool(window.valid().all())
    torch.testing.assert_close(window.paste(features, 7.0), features)
    torch.testing.assert_close(sampled(window, features, (6, 9)), features)


def test_jitter_leaves_the_window_alone() -> None:
    pixels = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(256, dtype=torch.uint8).view(16, 16)
    plain = TrainTransform(crop_size=16, long_side=(16, 16), flip=0.5, jitter=(0, 0, 0, 0))
    colourful = TrainTransform(crop_size=16, long_side=(16, 16), flip=0.5, jitter=(0.3, 0.3, 0.3, 0.1))
    before, after = (transform(pixels, mask, keyed_random("same")) for transform in (plain, colourful))
    assert after.window == before.window
    assert torch.equal(after.mask, before.mask) and torch.equal(after.pixels, before.pixels)
    assert before.jitter is None and after.jitter is not None and after.jitter.shape == (7,)


def test_keyed_random_depends_on_the_key_alone() -> None:
    def draw(*key: object) -> float:
        return keyed_random(*key).random()

    torch.manual_seed(3)
    first = {key: draw(1, 0, key) for key in "abc"}
    torch.manual_seed(4)
    torch.rand(17)
    assert {key: draw(1, 0, key) for key in "cab"} == first
    assert len({*first.values(), draw(2, 0, "a"), draw(1, 1, "a")}) == 5


def test_a_batch_keeps_every_window() -> None:
    turned = Window(scaled=(8, 8), flip=False, source=(0, 0, 3, 8), place=(2, 0), canvas=(8, 8))
    samples = [
        Sample(
            id=name,
            pixels=torch.full((3, 8, 8), number, dtype=torch.uint8),
            tags=torch.eye(2)[number],
            wss_mask=torch.full((8, 8), number, dtype=torch.uint8),
            window=window,
            stored_features=window.on_map(torch.full((4, 2, 2), float(number)), (2, 2)),
            jitter=torch.full((7,), float(number)),
        )
        for number, (name, window) in enumerate([("a", Window.whole((8, 8))), ("b", turned)])
    ]
    loaded = LoadedBatch.stack(samples).to(torch.device("cpu"))
    batch = replace(loaded, jitter=None).ready()
    assert batch.ids == ("a", "b")
    assert batch.valid.sum((1, 2)).tolist() == [64, 24]
    assert batch.valid[1, 2:5].all()
    for name in ("pixels", "tags", "wss_mask", "jitter"):
        assert torch.equal(getattr(loaded, name)[1], getattr(samples[1], name)), name
    assert batch.uss_features is not None
    assert batch.uss_features[:, 0].tolist() == [[[0, 0], [0, 0]], [[1, 1], [0, 0]]]


@settings(max_examples=40, deadline=None)
@given(pair=st.tuples(windows(), windows()), sizes=st.tuples(*[st.integers(1, 9)] * 4), seed=st.integers(0, 10**6))
def test_maps_of_other_sizes_do_not_meet_in_a_batch(
    pair: tuple[Window, Window], sizes: tuple[int, ...], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    stored = [torch.rand(3, *sizes[:2], generator=generator), torch.rand(3, *sizes[2:], generator=generator)]
    together = StoredFeatures.stack(
        [window.on_map(values, (4, 5)) for window, values in zip(pair, stored, strict=True)]
    )
    for window, values, found in zip(pair, stored, together.sampled(), strict=True):
        assert found.shape == (3, 4, 5)
        torch.testing.assert_close(
            found * window.valid_cells((4, 5)), sampled(window, values, (4, 5)), atol=1e-5, rtol=0
        )
