"""Pictures of many kinds, as users have them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def picture(path: Path, shift: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.roll(NOISE, shift, 0)).save(path)
    return path


def saved(form: str, mode: str = "RGB", size: tuple[int, int] = (30, 20), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).resize(size).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved("JPEG", exif=exif)


def frames(form: str) -> bytes:
    return saved(form, save_all=True, append_images=[Image.new("RGB", (30, 20))])


def deep() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE[:20, :30, 0].astype(np.uint16) * 257).save(buffer, "PNG")
    return buffer.getvalue()
