"""What the pixels of an image become, whatever it is."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dhr.disk.any_image import endings, formats, read_any_image
from dhr.disk.image import read_image
from dhr.disk.reading import PIXELS, BadFileError

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
TURNS = {  # what EXIF calls an orientation, and how the stored picture becomes the upright one
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}  # fmt: skip


def written(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "ppm", "webp", "tga"])
def test_plain_images_are_what_was_written(tmp_path: Path, ending: str) -> None:
    options = {"lossless": True} if ending == "webp" else {}
    path = written(tmp_path / f"a.{ending}", Image.fromarray(NOISE), **options)
    assert np.array_equal(read_any_image(path), NOISE)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_images_of_a_split_are_read_as_there(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, Image.fromarray(NOISE))
    assert np.array_equal(read_any_image(path), read_image(path))


@pytest.mark.parametrize("orientation", TURNS)
def test_images_stand_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(tmp_path / "a.png", Image.fromarray(NOISE), exif=exif)
    assert np.array_equal(read_any_image(path), TURNS[orientation](NOISE))


def test_an_unreadable_turn_is_not_made(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", Image.fromarray(NOISE), exif=b"Exif\0\0nonsense")
    assert np.array_equal(read_any_image(path), NOISE)


MODES: dict[str, tuple[str, np.ndarray, list[int]]] = {
    "transparent": ("png", np.uint8([[[9, 9, 9, 0]]]), [255, 255, 255]),
    "opaque": ("png", np.uint8([[[10, 20, 30, 255]]]), [10, 20, 30]),
    "half": ("png", np.uint8([[[0, 100, 255, 51]]]), [204, 224, 255]),  # 0.2 of the colour, 0.8 of white
    "16 bits": ("png", np.uint16([[257 * 77]]), [77, 77, 77]),
    "16 bits of 12": ("tif", np.uint16([[4095]]), [16, 16, 16]),
    "real numbers": ("tif", np.float32([[0.5, 0.0, 1.0, np.nan]]), [128, 128, 128]),
    "large numbers": ("tif", np.int32([[100_000, 0, 200_000]]), [128, 128, 128]),
    "negative numbers": ("tif", np.int32([[-5, -10, 0]]), [128, 128, 128]),
    "one number": ("tif", np.float32([[3.0]]), [0, 0, 0]),
    "grey": ("png", np.uint8([[77]]), [77, 77, 77]),
    "grey and transparent": ("png", np.uint8([[[0, 51]]]), [204, 204, 204]),
    "black and white": ("png", np.array([[True]]), [255, 255, 255]),
}


@pytest.mark.parametrize("kind", MODES)
def test_the_first_pixel(tmp_path: Path, kind: str) -> None:
    ending, values, expected = MODES[kind]
    path = written(tmp_path / f"a.{ending}", Image.fromarray(values))
    assert read_any_image(path)[0, 0].tolist() == expected


@pytest.mark.parametrize(("ink", "expected"), [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((255, 255, 255, 0), 0)])
def test_ink_is_darkness(tmp_path: Path, ink: tuple[int, ...], expected: int) -> None:
    for ending in ("jpg", "tif"):
        path = written(tmp_path / f"a.{ending}", Image.new("CMYK", (8, 8), ink))
        assert abs(int(read_any_image(path)[0, 0, 1]) - expected) <= 1


def test_palettes_and_what_is_transparent_in_them(tmp_path: Path) -> None:
    picture = Image.fromarray(np.uint8([[0, 1]]))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    assert read_any_image(written(tmp_path / "a.png", picture)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    path = written(tmp_path / "b.png", picture, transparency=0)
    assert read_any_image(path).tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize("ending", ["gif", "tif", "png", "webp"])
def test_the_first_of_several_frames(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "lime")]
    path = written(tmp_path / f"a.{ending}", frames[0], save_all=True, append_images=frames[1:])
    red, green, blue = read_any_image(path)[0, 0].tolist()
    assert red > 240 and max(green, blue) < 10


def test_no_file_runs_a_program(tmp_path: Path) -> None:
    assert "EPS" not in formats() and not {".eps", ".ps", ".h5", ".mpg", ".pdf"} & {*endings()}
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"} <= {*endings()}
    path = written(tmp_path / "a.eps", Image.fromarray(NOISE))
    with pytest.raises(BadFileError, match=r"a\.eps: unreadable image \(of no format that is read here\)"):
        read_any_image(path)


def test_bombs_are_not_opened(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (9000, PIXELS // 9000 + 1)).save(buffer, "TIFF", compression="tiff_deflate")
    (tmp_path / "a.tif").write_bytes(buffer.getvalue())
    with pytest.raises(BadFileError, match=r"allowed are 89,478,485 pixels"):
        read_any_image(tmp_path / "a.tif")
