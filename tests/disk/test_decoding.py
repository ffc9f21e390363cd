"""The fast way to read a mask gives what Pillow gives, and refuses what Pillow's way refuses."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dhr.disk.mask import encode_mask, mask_values
from dhr.disk.png import unfiltered
from dhr.disk.reading import BadFileError
from dhr.evaluation.scores import joint_histogram_of

PLACE = Path("mask.png")


def encoded(mask: np.ndarray, mode: str, **options: object) -> bytes:
    buffer, picture = io.BytesIO(), Image.fromarray(mask)
    if mode == "P":
        picture.putpalette(bytes(range(256)) * 3)
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


@given(
    seed=st.integers(0, 999), height=st.integers(1, 40), width=st.integers(1, 40), mode=st.sampled_from("PL"),
    level=st.integers(0, 9), smooth=st.booleans(),
)  # fmt: skip
def test_equals_pillow(seed: int, height: int, width: int, mode: str, level: int, smooth: bool) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 256, (height, width)).astype(np.uint8)
    mask = np.sort(mask, 1) if smooth else mask
    data = encoded(mask, mode, compress_level=level)
    assert np.array_equal(mask_values(data, PLACE), mask)


def test_our_masks_go_the_fast_way() -> None:
    mask = np.random.default_rng(0).integers(0, 21, (30, 40)).astype(np.uint8)
    data = encode_mask(mask, [(0, 0, 0)] * 21)
    fast = unfiltered(data)
    assert fast is not None and np.array_equal(fast, mask)


@pytest.mark.parametrize("change", ["cut", "flipped", "longer", "shorter"])
def test_broken_files_are_refused(change: str) -> None:
    mask = np.arange(600, dtype=np.uint8).reshape(20, 30)
    data = bytearray(encoded(mask, "P"))
    if change == "cut":
        data = data[:-20]
    elif change == "flipped":
        data[data.index(b"IDAT") + 9] ^= 4
    else:  # another height than there are rows, with a right checksum
        data[20:24] = (25 if change == "longer" else 15).to_bytes(4, "big")
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(BadFileError, match=r"mask\.png: unreadable mask"):
        mask_values(bytes(data), PLACE)


def png(size: tuple[int, int], pixels: bytes) -> bytes:
    """A grey PNG of this (height, width) with right checksums, whatever its pixels are."""
    head = struct.pack(">IIBBBBB", size[1], size[0], 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


ROWS = bytes(20 * 31)  # 20 rows of 30 pixels, each after its filter
STREAM = zlib.compress(ROWS)


@pytest.mark.parametrize(
    "pixels",
    [
        b"",
        STREAM[:-5],
        STREAM[:4] + b"\xff" + STREAM[5:],
        STREAM[:-1] + bytes([STREAM[-1] ^ 1]),
        zlib.compress(ROWS[:-1]),
        zlib.compress(ROWS + b"0"),
        zlib.compress(bytes(10**8)),
    ],
    ids=["nothing", "cut", "no code", "wrong sum", "a pixel less", "a pixel more", "bomb"],
)
def test_broken_pixels_behind_right_checksums_are_refused(pixels: bytes) -> None:
    assert mask_values(png((20, 30), STREAM), PLACE).shape == (20, 30)
    data = png((20, 30), pixels)
    start = time.process_time()
    with pytest.raises(BadFileError, match=r"mask\.png: unreadable mask"):
        mask_values(data, PLACE)
    assert time.process_time() - start < 0.5  # nothing of a bomb is blown up


@given(st.data())
def test_a_flipped_bit_changes_nothing_or_is_refused(data: st.DataObject) -> None:
    mask = np.arange(600).reshape(20, 30).astype(np.uint8)
    whole = bytearray(encoded(mask, "P"))
    start = whole.index(b"IDAT") + 4
    whole = whole[: start - 8] + png((1, 1), bytes(whole[start : whole.index(b"IEND") - 8]))[33:]
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    try:
        found = mask_values(bytes(whole), PLACE)
    except BadFileError:
        return
    assert np.array_equal(found, mask)


@given(seed=st.integers(0, 999), count=st.integers(1, 4), labels=st.sampled_from([1, 2, 21, 256]))
def test_runs_count_what_pixels_count(seed: int, count: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [tuple(rng.integers(0, labels, (2, 9, 7)).astype(np.uint8)) for _ in range(count)]
    joint, holders, _ = joint_histogram_of(pairs)
    expected, held = np.zeros((256, 256), int), np.zeros(256, int)
    for prediction, truth in pairs:
        np.add.at(expected, (truth, prediction), 1)
        held[np.unique(truth)] += 1
    assert np.array_equal(joint, expected) and np.array_equal(holders, held)
