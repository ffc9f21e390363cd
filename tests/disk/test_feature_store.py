"""Feature files: two forms, whole or refused, of the image and of the model they are said to be of."""

import json
import math
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny import SIDE, Tiny
from torch import Tensor

from dhr.config.compose import compose
from dhr.core.cells import patch_grid
from dhr.core.errors import InputError
from dhr.dataset.check import TrainingFiles
from dhr.disk.atomic import write_json
from dhr.disk.feature_file import EXPONENT, FORMS, Form
from dhr.disk.feature_store import FeatureStore
from dhr.stage.parts import open_split

CURE = "run python -m dhr.extract_uss"
RECORD = {"channels": 8, "scales": [0.5, 2.0], "patch_size": 14}


@pytest.fixture(params=FORMS)
def store(tmp_path: Path, request: pytest.FixtureRequest) -> FeatureStore:
    return FeatureStore(tmp_path / "colour", CURE, request.param)


def some(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def other_form(store: FeatureStore) -> FeatureStore:
    form: Form = "safetensors" if store.form == "pt" else "pt"
    return FeatureStore(store.folder, store.cure, form)


def test_what_is_written_is_read(store: FeatureStore) -> None:
    made = some(8, 5, 6).transpose(1, 2)
    store.write("a", made)
    assert store.look("a") == (8, 6, 5)
    assert torch.equal(store.read("a"), made.half())
    assert [path.name for path in store.folder.iterdir()] == [f"a.{store.form}"]


def test_a_pt_file_is_the_released_form(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, CURE)
    made = some(20, 5, 6)
    store.write("a", made[:8])
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert torch.equal(content, made[:8].half()) and content.untyped_storage().nbytes() == 8 * 5 * 6 * 2


def test_either_form_is_read_and_only_one_may_be_there(store: FeatureStore) -> None:
    store.write("a", some(8, 5, 6))
    other = other_form(store)
    assert other.path("a") == store.path("a") and torch.equal(other.read("a"), store.read("a"))
    other.write("a", some(8, 5, 6))
    assert store.is_double("a")
    for ask in (store.look, store.read, other.look, other.read):
        with pytest.raises(InputError, match=r"a\.\w+: a\.\w+ lies beside it: which of them counts\? delete one"):
            ask("a")


def test_missing_features_say_how_to_make_them(store: FeatureStore) -> None:
    for ask in (store.look, store.read):
        with pytest.raises(InputError, match=rf"b\.{store.form}: these USS features are missing; {CURE}"):
            ask("b")


def test_torn_files_are_named(store: FeatureStore) -> None:
    store.write("a", some(8, 5, 6))
    whole = store.path("a").read_bytes()
    for length in (0, 4, 10, 60, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        store.path("a").write_bytes(whole[:length])
        for ask in (store.look, store.read):
            with pytest.raises(InputError, match=rf"a\.{store.form}: unreadable \(\w+\); delete it and run"):
                ask("a")


REFUSED = {
    "two axes": (some(5, 6), r"shape \[5, 6\]: not a feature tensor \(D,h,w\)"),
    "four axes": (some(1, 2, 5, 6), r"shape \[1, 2, 5, 6\]: not a feature tensor \(D,h,w\)"),
    "no cell": (some(4, 0, 6), r"shape \[4, 0, 6\]: not a feature tensor \(D,h,w\)"),
    "whole numbers": (torch.ones(2, 3, 4, dtype=torch.int16), r"not a feature tensor \(D,h,w\)"),
}
PT_ONLY = {
    "an object": (Fraction(1, 2), r"unreadable \(UnpicklingError\)"),  # only tensors are unpickled, never objects
    "a dict": ({"features": some(2, 3, 4)}, r"not a feature tensor \(D,h,w\)"),
    "sparse": (some(2, 3, 4).to_sparse(), r"not a feature tensor \(D,h,w\)"),
    "more than the file": (torch.zeros(1).expand(10**6, 10**4, 10**2), r"not a feature tensor \(D,h,w\)"),
}


@pytest.mark.parametrize("case", [*REFUSED, *PT_ONLY])
def test_other_contents_are_refused(tmp_path: Path, case: str) -> None:
    content, message = {**REFUSED, **PT_ONLY}[case]
    torch.save(content, tmp_path / "a.pt")
    store = FeatureStore(tmp_path, CURE)
    for ask in (store.look, store.read):
        with pytest.raises(InputError, match=rf"a\.pt: {message}; delete it and run"):
            ask("a")


@pytest.mark.parametrize("case", REFUSED)
def test_other_contents_are_refused_in_safetensors(tmp_path: Path, case: str) -> None:
    content, message = REFUSED[case]
    save_file({"features": content}, tmp_path / "a.safetensors")
    save_file({"other": some(2, 3, 4)}, tmp_path / "b.safetensors")
    store = FeatureStore(tmp_path, CURE)
    for ask in (store.look, store.read):
        with pytest.raises(InputError, match=rf"a\.safetensors: {message}; delete it and run"):
            ask("a")
        with pytest.raises(InputError, match=r"b\.safetensors: not a feature tensor"):
            ask("b")


HEADERS = {
    "past the end": {"features": {"dtype": "F16", "shape": [2, 3, 4], "data_offsets": [0, 4800]}},
    "shape and length differ": {"features": {"dtype": "F16", "shape": [2, 3, 400], "data_offsets": [0, 48]}},
    "negative": {"features": {"dtype": "F16", "shape": [2, 3, 4], "data_offsets": [-48, 0]}},
    "overflow": {"features": {"dtype": "F16", "shape": [2**40, 2**40, 4], "data_offsets": [0, 48]}},
}


@pytest.mark.parametrize("case", [*HEADERS, "endless header", "no JSON"])
def test_hostile_headers_are_refused(tmp_path: Path, case: str) -> None:
    text = json.dumps(HEADERS.get(case, {})).encode() if case != "no JSON" else b"{{{{"
    length = 2**62 if case == "endless header" else len(text)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + text + bytes(48))
    store = FeatureStore(tmp_path, CURE)
    for ask in (store.look, store.read):
        with pytest.raises(InputError, match=r"a\.safetensors: unreadable \(SafetensorError\); delete it and run"):
            ask("a")


@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf, 1e6])  # 1e6 is infinite in fp16
def test_numbers_that_are_none_are_refused(store: FeatureStore, value: float) -> None:
    features = torch.full((2, 3, 4), 65504.0)  # the largest half number is fine
    store.write("a", features)
    assert torch.equal(store.read("a"), features.half())
    features[1, 2, 3] = value
    store.write("a", features)
    with pytest.raises(InputError, match=r"a\.\w+: holds NaN or infinity; delete it and run"):
        store.read("a")


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_other_floating_point_numbers_become_half(tmp_path: Path, kind: torch.dtype) -> None:
    torch.save(some(2, 3, 4).to(kind), tmp_path / "a.pt")
    save_file({"features": some(2, 3, 4).to(kind)}, tmp_path / "b.safetensors")
    store = FeatureStore(tmp_path, CURE)
    for image_id in "ab":
        assert torch.equal(store.read(image_id), some(2, 3, 4).to(kind).half())


# The image they belong to


def test_a_record_says_which_grid_is_right(store: FeatureStore) -> None:
    store.write("a", some(8, 54, 72))
    write_json(store.record, RECORD)
    assert torch.equal(store.read("a", (375, 500)), store.read("a"))
    for size in ((500, 375), (750, 1000), (374, 520), (382, 500)):
        for ask in (store.look, store.read):
            due = tuple(math.ceil(side * 2 / 14) for side in size)
            said = f"grid of 54 x 72 for an image of {size[0]} x {size[1]} .*: expected {due[0]} x {due[1]}; delete it"
            with pytest.raises(InputError, match=rf"a\.{store.form}: {said}"):
                ask("a", size)


def test_a_record_says_how_many_channels_there_are(store: FeatureStore) -> None:
    store.write("a", some(9, 5, 6))
    write_json(store.record, RECORD)
    with pytest.raises(InputError, match=r"a\.\w+: 9 channels: expected 8 by .*colour\.json; delete it and run"):
        store.read("a")


@pytest.mark.parametrize("content", ["[]", "{}", '{"channels": 8, "scales": [], "patch_size": 4}', "not JSON"])
def test_a_broken_record_is_named(store: FeatureStore, content: str) -> None:
    store.write("a", some(8, 5, 6))
    store.record.write_text(content)
    with pytest.raises(InputError, match=r"colour\.json: not (a record of features|readable as JSON)"):
        store.read("a")


@given(st.integers(20, 900), st.integers(20, 900), st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([4, 8, 14, 16]))
def test_released_features_of_the_image_are_taken(height: int, width: int, scale: float, patch: int) -> None:
    """However the sides were rounded."""
    store = FeatureStore(Path("nowhere"), CURE)
    exact = (height * scale / patch, width * scale / patch)
    for rounded in (math.ceil, math.floor, round):
        grid = (max(rounded(exact[0]), 1), max(rounded(exact[1]), 1))
        assert store.mismatch((8, *grid), (height, width)) is None
    assert store.mismatch((8, *patch_grid((height, width), scale=scale, patch=patch)), (height, width)) is None


@pytest.mark.parametrize("grid", [(72, 54), (54, 60), (40, 72), (54, 54), (1, 72)])
def test_released_features_of_another_shape_are_refused(tmp_path: Path, grid: tuple[int, int]) -> None:
    store = FeatureStore(tmp_path, CURE)
    torch.save(some(8, *grid).half(), tmp_path / "a.pt")
    said = f"grid of {grid[0]} x {grid[1]} for an image of 375 x 500 .*: expected a grid of the shape of the image"
    for ask in (store.look, store.read):
        with pytest.raises(InputError, match=rf"a\.pt: {said}; delete it"):
            ask("a", (375, 500))


# A whole split


def test_training_names_every_file_that_does_not_belong(tiny: Tiny, tmp_path: Path) -> None:
    there = tiny.copy(tmp_path)
    split = open_split(compose("extract_uss", there.words("extract_uss")), "train")
    store = FeatureStore(there.features, CURE)
    store.record.unlink()  # as released
    positions = TrainingFiles(split, None, store).tagged()
    assert len(positions) == len(split)
    cells = SIDE // 4
    store.write("train_00003", some(65, cells, cells))
    store.write("train_00004", some(64, cells, 2 * cells))
    store.path("train_00005").write_bytes(b"")
    other_form(store).write("train_00006", some(64, cells, cells))
    with pytest.raises(InputError) as caught:
        TrainingFiles(split, None, store).tagged()
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    expected = {
        3: "65 channels: the first file of the split has 64", 4: "expected a grid of the shape", 5: "unreadable",
        6: "lies beside it",
    }  # fmt: skip
    for line, (number, said) in zip(lines, expected.items(), strict=True):
        assert f"train_{number:05d}" in line and said in line
    store.path("train_00000").unlink()
    store.write("train_00001", some(65, cells, cells))
    with pytest.raises(InputError, match="train_00000.*missing(.|\n)*train_00002.*64 channels: the first file .* 65"):
        TrainingFiles(split, None, store).tagged()


def test_the_quick_look_for_numbers_is_right() -> None:
    """Every half number there is."""
    every = np.arange(-(2**15), 2**15).astype(np.int16)
    assert ((every & EXPONENT) != EXPONENT).tolist() == torch.isfinite(
        torch.from_numpy(every).view(torch.float16)
    ).tolist()
