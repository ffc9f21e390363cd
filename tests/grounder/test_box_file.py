"""Boxes from elsewhere: what is right is read, and every line that is wrong is named."""

import json
from pathlib import Path

import pytest

from dhr.core.errors import InputError
from dhr.grounder.box_file import StatedBox, read_boxes
from dhr.grounder.interface import Task

SIZES = {"a": (10, 20), "b": (8, 8), "c": (5, 5)}
TASK = Task(("background", "cat", "tvmonitor", "sky-other"), 1, [*SIZES], SIZES.__getitem__)
GOOD = {"image": "a", "class": "cat", "box": [0, 1.5, 20, 10], "score": 0.25}


def written(path: Path, *lines: object) -> Path:
    """Texts and bytes as they are, all else as JSON."""
    kept = [line if isinstance(line, str | bytes) else json.dumps(line) for line in lines]
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in kept))
    return path


def test_what_is_right(tmp_path: Path) -> None:
    """An object more of the same box has another class; names as people write them, empty lines and further keys."""
    path = written(
        tmp_path / "boxes.jsonl", GOOD, "", {**GOOD, "class": "tv monitor", "score": 1}, "  ",
        {**GOOD, "class": "sky-other", "image": "b", "box": [0, 0, 8, 8], "score": 0, "said": "sky"}, "",
    )  # fmt: skip
    assert read_boxes(path, TASK, key="grounder.boxes") == {
        "a": [StatedBox(1, (0, 1.5, 20, 10), 0.25), StatedBox(2, (0, 1.5, 20, 10), 1)],
        "b": [StatedBox(3, (0, 0, 8, 8), 0)],
    }


WRONG: list[tuple[object, str]] = [
    ("{", r"not readable as JSON"),
    (b'{"image": "\xff"}', r"not readable as JSON"),
    ("[" * 100_000, r"not readable as JSON"),
    ([1, 2], r"\[1, 2\]: not an object; due is \{\"image\""),
    ({key: value for key, value in GOOD.items() if key != "score"}, r"score: is missing; due is"),
    ({**GOOD, "image": "000000000139"}, r"image: '000000000139': no image of this split .*dataset=\.\.\., split="),
    ({**GOOD, "image": 7}, r"image: 7: no image of this split"),
    ({**GOOD, "image": "../a"}, r"image: '../a': no image of this split"),
    ({**GOOD, "class": "catt"}, r"class: 'catt': no class of this data set; did you mean cat\? known: cat, tvmonitor"),
    ({**GOOD, "class": "background"}, r"class: 'background': no class of this data set"),
    ({**GOOD, "class": ["cat"]}, r"class: \['cat'\]: no class"),
    ({**GOOD, "box": [0, 0, 5]}, r"box: \[0, 0, 5\]: four numbers are due: x0, y0, x1, y1 in pixels"),
    ({**GOOD, "box": "0 0 5 5"}, r"box: '0 0 5 5': four numbers"),
    ({**GOOD, "box": [0, 0, 5, None]}, r"box: .*four numbers"),
    ({**GOOD, "box": [0, 0, 5, True]}, r"box: .*four numbers"),
    ({**GOOD, "box": [0, 0, 5, float("nan")]}, r"box: \[0, 0, 5, nan\]: four numbers"),
    ({**GOOD, "box": [0, 0, 5, 10**400]}, r"box: .*four numbers"),
    ({**GOOD, "box": [5, 5, 5, 9]}, r"box: \[5, 5, 5, 9\]: is empty; x0 < x1 and y0 < y1 are due"),
    ({**GOOD, "box": [5, 9, 6, 5]}, r"box: .*is empty"),
    ({**GOOD, "box": [0, 0, 20.5, 10]}, r"box: .*: not inside a; x from 0 to 20 and y from 0 to 10 are due"),
    ({**GOOD, "box": [0, 0, 10, 20]}, r"box: .*: not inside a"),
    ({**GOOD, "box": [-1, 0, 10, 5]}, r"box: .*: not inside a"),
    ({**GOOD, "score": float("nan")}, r"score: nan: a number from 0 to 1 is due"),
    ({**GOOD, "score": float("inf")}, r"score: inf"),
    ({**GOOD, "score": 87}, r"score: 87: a number from 0 to 1"),
    ({**GOOD, "score": -0.1}, r"score: -0.1"),
    ({**GOOD, "score": "0.9"}, r"score: '0.9'"),
    ({**GOOD, "score": 0.75}, r"a: line 1 has the same box of this class; delete one of the two"),
]


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[said[:30] for _, said in WRONG])
def test_a_wrong_line_is_named(tmp_path: Path, line: object, said: str) -> None:
    path = written(tmp_path / "boxes.jsonl", GOOD, {**GOOD, "image": "b", "box": [0, 0, 8, 8]}, line)
    with pytest.raises(InputError, match=rf"boxes\.jsonl: line 3: {said}"):
        read_boxes(path, TASK, key="grounder.boxes")


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none\.jsonl: no such file; set grounder\.boxes=<file>, lines of \{\"image\""
    ):
        read_boxes(tmp_path / "none.jsonl", TASK, key="grounder.boxes")
    (tmp_path / "empty.jsonl").touch()
    for place in (tmp_path, tmp_path / "empty.jsonl"):
        with pytest.raises(InputError, match=r"unreadable boxes \((not a file|0 bytes)\)"):
            read_boxes(place, TASK, key="grounder.boxes")


def test_the_size_of_an_image_is_looked_up_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def size_of(image_id: str) -> tuple[int, int]:
        asked.append(image_id)
        return SIZES[image_id]

    lines = [{**GOOD, "box": [0, 0, 1 + number, 2]} for number in range(9)]
    read_boxes(written(tmp_path / "boxes.jsonl", *lines), Task(TASK.names, 1, TASK.ids, size_of), key="boxes")
    assert asked == ["a"]
