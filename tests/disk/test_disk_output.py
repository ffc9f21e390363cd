"""A folder of products: made with one setting, every change noticed, whatever ends a making continued by the next."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from products import IDS, Stage, StopError, check, files

from dhr.core.errors import InputError
from dhr.disk.atomic import read_json
from dhr.disk.mark import Mark
from dhr.disk.output import Output
from dhr.disk.products import Products


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    for image_id in IDS:
        (tmp_path / f"{image_id}.jpg").write_text(f"image {image_id}")
    settings = {"weights": "sha256:0", "scales": [1.0, 0.5], "crf": {"iterations": 10}}
    return Stage(
        Output(tmp_path / "masks" / "train", settings, sources=lambda image_id: [tmp_path / f"{image_id}.jpg"])
    )


def write_untimed(path: Path, data: bytes) -> None:
    """Changes a file and hides it."""
    times = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def flipped(path: Path) -> bytes:
    return bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]


def swap(one: Path, other: Path) -> None:
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def exchange(one: Path, other: Path) -> None:
    """By their names, so that neither is written."""
    one.rename(one.with_name("kept"))
    other.rename(one)
    one.with_name("kept").rename(other)


DAMAGES: dict[str, tuple[Callable[[list[Path]], object], list[int], str]] = {
    "truncated": (lambda f: f[1].write_bytes(f[1].read_bytes()[:-1]), [1], "bytes, not"),
    "emptied": (lambda f: f[1].write_bytes(b""), [1], "0 bytes, not"),
    "longer": (lambda f: f[1].write_bytes(f[1].read_bytes() + b"x"), [1], "bytes, not"),
    "one bit": (lambda f: f[1].write_bytes(flipped(f[1])), [1], "other content"),
    "one bit, time restored": (lambda f: write_untimed(f[1], flipped(f[1])), [1], "other content"),
    "swapped": (lambda f: swap(f[1], f[4]), [1, 4], "other content"),
    "renamed": (lambda f: exchange(f[1], f[4]), [1, 4], "other content"),
    "deleted": (lambda f: f[1].unlink(), [1], "missing"),
    "several": (lambda f: [path.write_bytes(b"") for path in f[2:5]], [2, 3, 4], "0 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_changed_is_made_again_and_nothing_else(
    stage: Stage, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil, numbers, said = DAMAGES[damage]
    assert stage.run() == IDS and stage.contents == stage.expected
    check(stage)
    spoil(files(stage))
    with pytest.raises(InputError, match=rf"{len(numbers)} files changed since: i{numbers[0]}\.png \(.*{said}.*make "):
        check(stage)
    caplog.clear()
    assert stage.run() == [IDS[number] for number in numbers]
    assert stage.contents == stage.expected
    assert said in caplog.text or damage == "deleted"
    check(stage)
    assert stage.run() == []


def test_foreign_files_are_told_and_left_alone(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.run()
    (stage.output.folder / "other.png").write_bytes(b"theirs")
    assert stage.run() == []
    assert "1 files of no image are left alone: other.png" in caplog.text
    assert stage.run(overwrite=True) == IDS
    assert stage.contents == {**stage.expected, "other.png": b"theirs"}


def test_a_product_of_another_image_is_made_again(stage: Stage, tmp_path: Path) -> None:
    stage.run()
    write_untimed(tmp_path / "i3.jpg", b"IMAGE i3")
    (tmp_path / "i5.jpg").touch()
    assert stage.run() == ["i3"]
    assert stage.contents == stage.expected


def copied(stage: Stage, root: Path) -> Stage:
    """The folder and its images on another disk, with other times."""
    shutil.copytree(stage.output.folder.parents[1], root, copy_function=shutil.copyfile)
    output = replace(stage.output, folder=root / "masks" / "train", sources=lambda image_id: [root / f"{image_id}.jpg"])
    return Stage(output)


def test_a_copy_is_read_once_and_taken(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run()
    there, read = copied(stage, tmp_path / "copy"), []
    real = Mark.of
    monkeypatch.setattr(Mark, "of", lambda path, data=None: (read.append(path), real(path, data))[1])
    assert there.run() == [] and len(read) == 2 * len(IDS)
    check(there)
    assert there.run() == [] and len(read) == 2 * len(IDS)
    assert {path.name for path in there.output.folder.parent.iterdir()} == {"train", "train.json", "train.files.jsonl"}


def test_a_later_stage_reads_a_copy_once(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run()
    there = copied(stage, tmp_path / "copy")
    check(there)
    monkeypatch.setattr(Mark, "of", lambda *_: pytest.fail("read again"))
    check(there)


OTHERS: dict[str, dict[str, object]] = {
    "weights": {"weights": "sha256:1"}, "scales": {"scales": [1.0]}, "crf": {"crf": {"iterations": 9}},
    "flip": {"flip": False}, "weights, crf": {"weights": "", "crf": {}},
}  # fmt: skip


@pytest.mark.parametrize("named", OTHERS)
def test_settings_are_not_mixed(stage: Stage, named: str) -> None:
    stage.run()
    files(stage)[3].unlink()
    before, other = stage.contents, stage.of(**OTHERS[named])
    with pytest.raises(InputError, match=rf"other settings \({named} in .*train\.json\); overwrite=true makes them"):
        other.run()
    assert stage.contents == before and other.made == []
    assert other.run(overwrite=True) == IDS and other.contents == other.expected
    assert other.run() == []


def test_files_that_do_not_say_how_they_were_made_are_not_taken(stage: Stage) -> None:
    stage.output.folder.mkdir(parents=True)
    files(stage)[3].write_bytes(b"theirs")
    with pytest.raises(InputError, match=r"holds masks of 1 of 8 images that do not say how .* \(no train\.json\)"):
        stage.run()
    check(stage)  # brought by the user: a later stage takes them
    assert files(stage)[3].read_bytes() == b"theirs"
    assert stage.run(overwrite=True) == IDS and stage.contents == stage.expected


def test_a_first_try_that_failed_binds_nobody(stage: Stage) -> None:
    stage.stop_at = 0
    with pytest.raises(StopError):
        stage.run()
    other = stage.of(flip=False)
    assert other.run() == IDS


def test_what_cannot_be_made_does_not_put_out_of_date_what_is_there(stage: Stage) -> None:
    stage.run()
    before, other = stage.contents, stage.of(scales=[])
    other.stop_at = 0
    with pytest.raises(StopError):
        other.run(overwrite=True)
    assert stage.contents == before
    check(stage)
    assert stage.run() == []


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("again", [True, False])
def test_an_overwriting_that_was_interrupted_is_continued_and_never_taken_as_whole(
    stage: Stage, same: bool, again: bool
) -> None:
    stage.run()
    other = stage if same else stage.of(flip=False)
    other.stop_at = 3
    with pytest.raises(StopError):
        other.run(overwrite=True)
    assert set(other.contents) == set(stage.expected)  # nothing is removed before there is another
    with pytest.raises(InputError, match=r"5 files changed since: i3\.png \(made with other settings\)"):
        check(other)
    if not same:
        with pytest.raises(InputError, match="made with other settings"):
            stage.run()
    other.stop_at = len(IDS) + 1
    assert other.run(overwrite=again) == (IDS if again else IDS[3:])
    assert other.contents == other.expected
    check(other)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_file_whose_line_is_torn_is_made_again(stage: Stage, cut: int) -> None:
    """As a killed process leaves it: lines of its own beside the ledger."""
    stage.stop_at = 5
    with pytest.raises(StopError):
        stage.run()
    (own,) = stage.output.folder.parent.glob("train.files.*.jsonl")
    own.write_bytes(own.read_bytes()[:-cut])
    stage.stop_at = len(IDS) + 1
    assert stage.run() == IDS[5 if cut == 1 else 4 :]  # without its end, a line is whole all the same
    assert stage.contents == stage.expected and not own.exists()
    check(stage)


LINES = ["[]", "{}", "null", '{"name": "i1.png"}', '{"name": "i1.png", "of": "", "file": [1], "from": []}', "[" * 5000]


@pytest.mark.parametrize("line", LINES)
def test_lines_that_are_none_are_not_read(stage: Stage, line: str) -> None:
    stage.run()
    with stage.output.ledger.path.open("a") as file:
        file.write(line)
    check(stage)
    assert stage.run() == []


def test_a_ledger_of_other_settings_is_told(stage: Stage) -> None:
    stage.run()
    settings = stage.output.ledger.settings
    settings.write_text(json.dumps({**read_json(settings), "scales": [9]}))
    with pytest.raises(InputError, match=r"train\.json: not what the files of .*train\.files\.jsonl were made with"):
        check(stage)


def test_a_ledger_serves_a_link_to_its_folder(stage: Stage, tmp_path: Path) -> None:
    stage.run()
    (tmp_path / "link").symlink_to(stage.output.folder)
    files(stage)[2].write_bytes(b"")
    link = Products.at(tmp_path / "link", "make them again")
    with pytest.raises(InputError, match=r"i2\.png: 0 bytes"):
        link.check(tmp_path / "link" / "i2.png")


def test_another_form_gives_way_when_its_successor_is_there(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.run()
    output = replace(stage.output, settings={**stage.output.settings, "form": "bmp"}, suffix=".bmp", others=(".png",))
    other = Stage(output, stop_at=3)
    with pytest.raises(StopError):
        other.run(overwrite=True)
    assert sorted(other.contents) == sorted(
        [*(f"{image_id}.bmp" for image_id in IDS[:3]), *(f"{image_id}.png" for image_id in IDS[3:])]
    )
    other.stop_at = len(IDS) + 1
    assert other.run() == IDS[3:] and other.contents == other.expected
    files(stage)[2].write_bytes(b"theirs")
    with pytest.raises(InputError, match=r"i2\.bmp: i2\.png lies beside it: which of them counts"):
        other.run()


def test_what_was_made_and_what_was_there_is_counted(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        stage.run()
        files(stage)[2].unlink()
        stage.run()
        stage.run()
    said = [record.message.partition("train: ")[2] for record in caplog.records]
    assert [each.partition(" (")[0] for each in said] == [
        "8 made, 0 were there", "1 made, 7 were there", "0 made, 8 were there",
    ]  # fmt: skip
