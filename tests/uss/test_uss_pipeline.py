"""From pixels to features: averages over scales, memory that runs out, work ahead and behind."""

import math
import threading
import time
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dhr.core.colour import normalise
from dhr.core.errors import InputError
from dhr.network.multi_scale import multi_scale_features
from dhr.runtime.memory import first_that_fits, lacks_memory
from dhr.uss.colour import ColourExtractor
from dhr.uss.extraction import AHEAD, IN_FLIGHT, ExtractionModel, extract_all
from dhr.uss.tiling import PARTS, MemoryFallback, in_tiles, spans

SCALES = (2.0, 1.0, 1.5, 0.5)
CPU = torch.device("cpu")


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


class Limited(nn.Module):
    """Runs out of memory above a number of pixels per call, images counted together."""

    def __init__(self, extractor: nn.Module, pixels: int, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.extractor, self.pixels, self.error = extractor, pixels, error
        self.patch_size, self.dim = extractor.patch_size, extractor.dim
        self.calls: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.calls.append(tuple(image.shape))
        if image.shape[0] * image.shape[2] * image.shape[3] > self.pixels:
            raise self.error()
        return self.extractor(image)


ERRORS: dict[str, Callable[[], Exception]] = {
    "allocator of the GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "driver": lambda: RuntimeError("CUDA error: out of memory"),
    "cuBLAS": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    "Python": MemoryError,
}


# Scales


@pytest.mark.parametrize(("height", "width"), [(37, 50), (48, 33), (9, 70)])
@pytest.mark.parametrize("flip", [False, True])
def test_the_average_over_scales_is_that_of_a_plain_loop(height: int, width: int, flip: bool) -> None:
    """One image at a time, one scale after the other, every cell by hand."""
    extractor, image = ColourExtractor(patch_size=6, dim=10), normalise(picture(height, width))
    rows, columns = math.ceil(2 * height / 6), math.ceil(2 * width / 6)
    total, count = torch.zeros(10, rows, columns, dtype=torch.float64), 0
    for scale in SCALES:
        size = tuple(math.ceil(round(side * scale) / 6) * 6 for side in (height, width))
        view = nn.functional.interpolate(image[None], size=size, mode="bilinear")
        for mirrored in (False, True)[: 1 + flip]:
            made = extractor(view.flip(3) if mirrored else view)
            made = (made.flip(3) if mirrored else made)[0]
            for row, column in product(range(rows), range(columns)):
                total[:, row, column] += at(made, (row + 0.5) / rows, (column + 0.5) / columns)
            count += 1
    found = multi_scale_features(extractor, image[None], scales=SCALES, flip=flip)[0]
    torch.testing.assert_close(found.double(), total / count, atol=1e-5, rtol=0)


def at(values: Tensor, down: float, right: float) -> Tensor:
    """Bilinear value of (D,h,w) at a place given in shares of its sides, border cells going on beyond it."""
    result = torch.zeros(len(values), dtype=torch.float64)
    y, x = down * values.shape[1] - 0.5, right * values.shape[2] - 0.5
    for row, in_row in ((math.floor(y), 1 - y + math.floor(y)), (math.floor(y) + 1, y - math.floor(y))):
        for column, in_column in ((math.floor(x), 1 - x + math.floor(x)), (math.floor(x) + 1, x - math.floor(x))):
            clamped = (min(max(row, 0), values.shape[1] - 1), min(max(column, 0), values.shape[2] - 1))
            result += in_row * in_column * values[:, clamped[0], clamped[1]].double()
    return result


def test_image_and_mirror_image_are_one_batch() -> None:
    extractor = Limited(ColourExtractor(), 10**9, MemoryError)
    multi_scale_features(extractor, normalise(picture(32, 40))[None], scales=(1.0, 0.5), flip=True)
    assert extractor.calls == [(2, 3, 32, 40), (2, 3, 16, 20)]


# Memory


@pytest.mark.parametrize("error", ERRORS)
def test_what_lack_of_memory_looks_like(error: str) -> None:
    assert lacks_memory(ERRORS[error]())
    assert not lacks_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not lacks_memory(ValueError("out of memory"))


def test_the_real_lack_of_memory_of_the_cpu_is_known() -> None:
    name, value = first_that_fits([("large", lambda: torch.empty(2**55)), ("small", lambda: torch.ones(1))])
    assert (name, float(value)) == ("small", 1.0)
    with pytest.raises(MemoryError, match="can't allocate memory"):
        first_that_fits([("large", lambda: torch.empty(2**55))])


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("share", "way"), [(1.0, ""), (0.5, "one by one"), (0.3, "in 2 x 2 tiles"), (0.14, "tiles")])
def test_images_that_do_not_fit_are_taken_in_pieces(error: str, share: float, way: str) -> None:
    """Colour features see two patches around a cell, so tiles give the same as the whole image."""
    height, width = 400, 520
    extractor, image = ColourExtractor(patch_size=4, dim=8), normalise(picture(height, width))
    limited = Limited(extractor, int(share * 2 * height * width), ERRORS[error])
    frugal = MemoryFallback(limited)
    found = multi_scale_features(frugal, image[None], scales=(1.0, 0.25), flip=True)[0]
    expected = multi_scale_features(extractor, image[None], scales=(1.0, 0.25), flip=True)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    notes = frugal.take_notes()
    assert len(notes) == (1 if way else 0) and all(
        note.startswith("400 x 520 pixels") and way in note for note in notes
    )
    assert frugal.take_notes() == []


def test_where_not_even_the_smallest_tile_fits_it_is_said() -> None:
    with pytest.raises(MemoryError, match=rf"one by one: .*in {PARTS[-1]} x {PARTS[-1]} tiles: "):
        MemoryFallback(Limited(ColourExtractor(), 0, MemoryError))(
            normalise(picture(80, 80))[None].expand(2, -1, -1, -1)
        )


def test_other_errors_pass_through() -> None:
    limited = Limited(ColourExtractor(), 0, lambda: RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        MemoryFallback(limited)(normalise(picture(80, 80))[None])
    assert len(limited.calls) == 1


def test_the_cpu_is_the_last_way_and_keeps_its_copy() -> None:
    frugal = MemoryFallback(ColourExtractor())
    image = normalise(picture(32, 40))[None].expand(2, -1, -1, -1)
    torch.testing.assert_close(frugal._cpu(image), frugal.extractor(image))
    assert frugal._on_cpu is not frugal.extractor and frugal._on_cpu is (frugal._cpu(image), frugal._on_cpu)[1]
    names = [name for name, _ in frugal._ways(image.to("meta"))]
    assert names[:3] == ["", "one by one", "in 2 x 2 tiles"] and names[-1] == "on the CPU"
    assert "on the CPU" not in [name for name, _ in frugal._ways(image)]


@pytest.mark.parametrize("cells", [1, 5, 16, 53, 72])
@pytest.mark.parametrize("parts", PARTS)
def test_every_cell_belongs_to_one_tile(cells: int, parts: int) -> None:
    kept = np.zeros(cells, int)
    for span in spans(cells, parts):
        kept[span.kept] += 1
        assert np.arange(cells)[span.first : span.last][span.inner].tolist() == np.arange(cells)[span.kept].tolist()
    assert (kept == 1).all()


class Global(nn.Module):
    """As a transformer: every cell is mixed with the mean of all cells that it sees."""

    patch_size, dim = 4, 12

    def __init__(self) -> None:
        super().__init__()
        self.local = ColourExtractor(patch_size=4, dim=12)

    def forward(self, image: Tensor) -> Tensor:
        local = self.local(image)
        return 0.5 * local + 0.5 * local.mean((2, 3), keepdim=True)


def test_tiles_of_a_model_that_sees_everything_differ_in_bounds() -> None:
    scene = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    image = normalise((nn.functional.interpolate(scene, size=(256, 320), mode="bicubic") * 255).byte())
    whole, tiled = Global()(image), in_tiles(MemoryFallback(Global()), image, 2)
    cosine = nn.functional.cosine_similarity(whole, tiled, dim=1)
    assert 0.97 < float(cosine.mean()) < 0.9999 and float(cosine.min()) > 0.9


# Ahead and behind


def features(extractor: nn.Module | None = None, **options: object) -> ExtractionModel:
    made = MemoryFallback(ColourExtractor(dim=8) if extractor is None else extractor)
    return ExtractionModel(made, scales=(1.0,), flip=False, device=CPU, **options)


def test_every_image_is_kept_once_whatever_the_threads() -> None:
    kept: dict[str, Tensor] = {}
    ids = [str(number) for number in range(40)]

    def read(image_id: str) -> Tensor:
        time.sleep(0.001 * (int(image_id) % 3))
        return picture(16, 16 + 4 * int(image_id), seed=int(image_id))

    assert list(extract_all(features(), ids, read, kept.__setitem__)) == ids
    assert sorted(kept) == sorted(ids)
    for image_id in ids:
        assert torch.equal(kept[image_id], features()(picture(16, 16 + 4 * int(image_id), seed=int(image_id))))
        assert kept[image_id].dtype == torch.float16


def test_one_writer_keeps_the_order() -> None:
    kept: list[str] = []
    ids = [str(number) for number in range(30)]
    list(extract_all(features(), ids, lambda _: picture(8, 8), lambda image_id, _: kept.append(image_id), writers=1))
    assert kept == ids


def test_memory_is_bounded_when_the_disk_is_slow() -> None:
    read, written, lock, most = [0], [0], threading.Lock(), [0]

    def pixels(_: str) -> Tensor:
        with lock:
            read[0] += 1
            most[0] = max(most[0], read[0] - written[0])
        return picture(8, 8)

    def keep(_: str, __: Tensor) -> None:
        time.sleep(0.003)
        with lock:
            written[0] += 1

    list(extract_all(features(), [str(number) for number in range(60)], pixels, keep))
    assert written[0] == 60 and most[0] <= AHEAD + IN_FLIGHT + 3


@pytest.mark.parametrize("where", ["reading", "keeping"])
def test_an_error_stops_everything_after_what_was_made_is_kept(where: str) -> None:
    kept: list[str] = []

    def read(image_id: str) -> Tensor:
        if where == "reading" and image_id == "5":
            raise InputError("5.jpg: unreadable image")
        return picture(8, 8)

    def keep(image_id: str, _: Tensor) -> None:
        if where == "keeping" and image_id == "5":
            raise InputError("5.jpg: unreadable image")
        kept.append(image_id)

    with pytest.raises(InputError, match=r"5\.jpg: unreadable image"):
        list(extract_all(features(), [str(number) for number in range(100)], read, keep))
    assert {"0", "1", "2", "3", "4"} <= set(kept) and len(kept) < 30
