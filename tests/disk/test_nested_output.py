"""Products of ids with folders in them, and of what is said of one id alone."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dhr.core.errors import InputError
from dhr.disk.output import Keep, Output
from dhr.runtime.ranks import Ranks

IDS = ["1", "a/1", "a/b/1", "a/b/2"]
ALONE = Ranks(rank=0, count=1, device=torch.device("cpu"))


def output_in(root: Path) -> Output:
    """Over images that are made here."""
    for image_id in IDS:
        path = root / "images" / f"{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"image {image_id}")
    return Output(root / "masks", {"a": 1}, sources=lambda image_id: [root / "images" / f"{image_id}.png"])


def fill(output: Output, *, broken: Sequence[str] = (), overwrite: bool = False) -> list[str]:
    """Ids whose product was made; of those that are broken none can be made."""
    made: list[str] = []

    def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
        for image_id in todo:
            if image_id not in broken:
                keep(image_id, f"mask {image_id} {output.given(image_id)}".encode())
                made.append(image_id)
                yield image_id

    output.fill(IDS, make, ALONE, title="test", overwrite=overwrite)
    return sorted(set(made))


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    output = output_in(tmp_path)
    assert fill(output) == IDS and fill(output) == []
    output.path("a/1").write_bytes(output.path("a/b/1").read_bytes())
    assert fill(output) == ["a/1"] and output.path("a/1").read_text() == "mask a/1 "
    output.path("a/b/2").unlink()
    assert fill(output) == ["a/b/2"]


def test_foreign_files_are_told_in_every_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = output_in(tmp_path)
    fill(output)
    for name in ("x.png", "a/x.png", "a/b/x.png", "other/x.png"):
        (output.folder / name).parent.mkdir(exist_ok=True)
        (output.folder / name).touch()
    (output.folder / "a" / "b" / ".x.000000000000-1--000000000000.part").touch()
    caplog.set_level(logging.WARNING)
    assert fill(output) == []
    assert "4 files of no image are left alone: a/b/x.png, a/x.png, other, x.png" in caplog.text


def test_what_is_said_of_one_id_counts_for_it_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = output_in(tmp_path)
    fill(output)
    tagged = replace(output, given=lambda image_id: "the tag cat" if image_id == "a/1" else "")
    assert fill(tagged) == ["a/1"] and fill(tagged) == []
    assert "1.png (made with nothing given, not the tag cat)" in caplog.text
    assert fill(output) == ["a/1"] and fill(output) == []


def test_the_first_that_can_be_made_is_tried_before_all_are_out_of_date(tmp_path: Path) -> None:
    output = output_in(tmp_path)
    fill(output)
    other = replace(output, settings={"a": 2})
    assert fill(other, broken=IDS[:2], overwrite=True) == IDS[2:]
    with pytest.raises(InputError, match=r"made with other settings \(a in "):
        fill(output)


def test_what_is_made_inside_is_kept(tmp_path: Path) -> None:
    output = output_in(tmp_path)
    with output.filling(IDS, lambda *_: iter(()), ALONE) as (due, keep):
        assert list(due) == IDS
        keep("a/1", b"mask a/1 ")
    assert fill(output) == ["1", "a/b/1", "a/b/2"]
