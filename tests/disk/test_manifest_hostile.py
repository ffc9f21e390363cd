"""What a manifest or a journal states is taken only as what it has to be: anybody may have written it."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from downloads import TABLE, make_ade, prepare

from dhr.core.errors import InputError
from dhr.dataset.check import known_sizes
from dhr.dataset.prepare.preparer import Preparation
from dhr.dataset.split import Split
from dhr.disk.atomic import read_json
from dhr.disk.layout import DataLayout
from dhr.disk.manifest import JOURNAL, NAME, Manifest

HEADER = {
    "version": 1, "dataset": "toy", "split": "train", "images": 1, "tags_from": {"xml": 1}, "recipe": "", "names": ["a"]
}  # fmt: skip
ENTRY = {
    "id": "a", "size": [2, 3], "tags": ["cat"], "labels": {"0": 2, "255": 4}, "image": [9, "x"], "mask": [9, "x"],
    "tags_from": "xml",
}  # fmt: skip
IDS = ["../../../etc/passwd", "/etc/passwd", "..", "", "a/b", "a\nb", "a\0b", "x" * 201, "x" * 300, "\ud800", 3, None]
DIGITS = b"9" * 5000  # more than Python makes an int of
ENTRIES: dict[str, dict[str, Any]] = {
    **{f"id {number}": {"id": image_id} for number, image_id in enumerate(IDS)},
    **{
        f"size {size}": {"size": size}
        for size in ([10**5, 10**5], [10**9, 1], [0, 6], [-2, -3], [2], [2, 3, 1], [2.0, 3], ["2", 3], 6, None)
    },
    **{
        f"labels {labels}": {"labels": labels}
        for labels in ({"0": 5}, {"0": 7}, {"256": 6}, {"-1": 6}, {"0": -6, "1": 12}, {"x": 6}, {"0": 6.0}, [6], 6)
    },
    **{f"image {mark}": {"image": mark} for mark in ([-1, "x"], [10**12, "x"], ["9", "x"], [9], [True, "x"], None)},
    "mask": {"mask": [9, None]},
    "tags": {"tags": "cat"},
    "a tag": {"tags": ["cat", 3]},
    "a long tag": {"tags": ["x" * 201]},
    "a tag on two lines": {"tags": ["a\nb"]},
    "origin": {"tags_from": "../xml"},
}  # fmt: skip
HEADERS: dict[str, dict[str, Any]] = {
    "version": {"version": 2},
    "images": {"images": -1},
    "images as text": {"images": "1"},
    "names": {"names": "abc"},
    "a name": {"names": [["a"]]},
    "split": {"split": ["train"]},
    "origins": {"tags_from": {"xml": "many"}},
    "origins as a list": {"tags_from": ["xml"]},
    "recipe": {"recipe": 3},
}
LINES = {
    "not UTF-8": b'{"id": "caf\xe9"}',
    "no JSON": b"{",
    "no object": b"[1, 2]",
    "a huge integer": json.dumps(ENTRY).encode().replace(b"[9, ", b"[" + DIGITS + b", "),
    "an infinite number": json.dumps(ENTRY).encode().replace(b"[2, 3]", b"[Infinity, NaN]"),
    "nested": b"[" * 60_000,
    "long": b" " * 10_000_000,
    "long without an end": b'{"id": "' + b"a" * 10_000_000,
    "zeros": bytes(100),
}


def refused(folder: Path, *lines: bytes) -> None:
    """A manifest of these lines is refused with file and cure, in a second of CPU time: busy machines take longer."""
    (folder / NAME).write_bytes(b"\n".join(lines) + b"\n")
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        list(Manifest.open(folder) or ())
    assert time.process_time() - started < 1
    message = str(caught.value)
    assert message.startswith(f"{folder / NAME}: not a manifest (") and "; delete it and run" in message
    assert len(message.removeprefix(str(folder))) < 300 and message.isprintable()


def test_a_true_one_is_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(f"{json.dumps(HEADER)}\n{json.dumps(ENTRY)}\n")
    manifest = Manifest.open(tmp_path)
    assert manifest is not None and manifest.header.names == ("a",)
    (entry,) = manifest
    assert (entry.id, entry.size, entry.labels, entry.tags) == ("a", (2, 3), {0: 2, 255: 4}, ("cat",))
    assert json.loads(entry.line()) == ENTRY


@pytest.mark.parametrize("case", ENTRIES)
def test_entries_that_no_image_has(tmp_path: Path, case: str) -> None:
    refused(tmp_path, json.dumps(HEADER).encode(), json.dumps({**ENTRY, **ENTRIES[case]}).encode())


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_no_split_has(tmp_path: Path, case: str) -> None:
    refused(tmp_path, json.dumps({**HEADER, **HEADERS[case]}).encode(), json.dumps(ENTRY).encode())


@pytest.mark.parametrize("key", ENTRY)
def test_entries_that_lack_something(tmp_path: Path, key: str) -> None:
    lacking = {name: value for name, value in ENTRY.items() if name != key}
    refused(tmp_path, json.dumps(HEADER).encode(), json.dumps(lacking).encode())


@pytest.mark.parametrize("case", LINES)
def test_lines_that_are_none(tmp_path: Path, case: str) -> None:
    refused(tmp_path, LINES[case])
    refused(tmp_path, json.dumps(HEADER).encode(), LINES[case])


# Where they are read


def prepared(root: Path) -> tuple[DataLayout, Callable[[], Preparation]]:
    """A prepared data set, and how to prepare it again."""
    source, layout = make_ade(root), DataLayout(root / "data", "ADE2016")
    prepare(layout.root, source)
    return layout, lambda: prepare(layout.root, source)


@pytest.mark.parametrize("case", LINES)
def test_training_says_that_its_manifest_is_broken(tmp_path: Path, case: str) -> None:
    layout, _ = prepared(tmp_path)
    file = layout.split("train") / NAME
    whole = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*whole[:3], LINES[case], *whole[4:]]))
    with pytest.raises(InputError, match=r"manifest\.jsonl: not a manifest"):
        known_sizes(Split.open(layout, "train", TABLE))


@pytest.mark.parametrize("case", LINES)
def test_a_journal_is_used_as_far_as_it_is_whole(tmp_path: Path, case: str) -> None:
    layout, again = prepared(tmp_path)
    folder = layout.split("train")
    header, *entries = (folder / NAME).read_bytes().splitlines()
    recipe = json.dumps({"recipe": json.loads(header)["recipe"]}).encode()
    (folder / JOURNAL).write_bytes(b"\n".join([recipe, *entries[:2], LINES[case], *entries[2:]]) + b"\n")
    whole = (folder / NAME).read_bytes()
    (folder / NAME).unlink()
    assert again().splits["train"].images == 5
    assert (folder / NAME).read_bytes() == whole and not (folder / JOURNAL).exists()


def test_a_journal_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, again = prepared(tmp_path)
    folder = layout.split("train")
    header, *entries = (folder / NAME).read_bytes().splitlines()
    (folder / NAME).unlink()
    lines = [{"recipe": json.loads(header)["recipe"]}, {**json.loads(entries[0]), "id": "../../../secret"}]
    (folder / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    looked: list[str] = []
    stat = os.stat

    def noted(path: Any, *args: Any, **more: Any) -> os.stat_result:
        looked.append(str(path))
        return stat(path, *args, **more)

    monkeypatch.setattr(os, "stat", noted)
    again()
    assert looked and not any("secret" in path for path in looked)


# JSON files that are read whole


@pytest.mark.parametrize("data", [DIGITS, b'{"a": ' + DIGITS + b"}", b"[" * 99_999, b"caf\xe9", b"", b"\0", b"{"])
def test_hostile_json(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.json: .*(not readable as JSON|unreadable JSON).*; .* again"):
        read_json(tmp_path / "a.json")


def test_json_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe: unreadable JSON \(not a file\)"):
        read_json(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"absent: no such file; check the folder or run the stage"):
        read_json(tmp_path / "absent")
