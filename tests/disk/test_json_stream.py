"""Long JSON files element by element: the same as json.loads, at any chunk size, in little memory."""

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhr.core.errors import InputError
from dhr.disk import json_stream
from dhr.disk.json_stream import Element, array_elements

CHUNKS = (1, 2, 3, 7, 16, 61, 1 << 19)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def expected(document: Any) -> list[tuple[str, Any]]:
    """What json.loads says about the arrays at the top level."""
    if isinstance(document, list):
        return [("", element) for element in document]
    return [(key, element) for key, value in document.items() if isinstance(value, list) for element in value]


def scanned(file: Path, chunk: int) -> list[tuple[str, Any]]:
    """Keys and values, after a check that the positions are those of the values."""
    elements, data = list(array_elements(file, chunk)), file.read_bytes()
    assert all(json.loads(data[element.start : element.end]) == element.value for element in elements)
    return [(element.key, element.value) for element in elements]


@given(
    document=st.lists(VALUES) | st.dictionaries(st.text(), VALUES),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 3]),
    chunk=st.sampled_from(CHUNKS),
)
def test_as_json_loads(
    tmp_path_factory: pytest.TempPathFactory, document: Any, ascii_only: bool, indent: int | None, chunk: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "made.json"
    file.write_bytes(json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode())
    assert scanned(file, chunk) == expected(json.loads(file.read_bytes()))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_values_that_a_cut_may_change(tmp_path: Path, chunk: int) -> None:
    file = tmp_path / "made.json"
    text = (
        '{"a" : [12345 , -1.5e-07, true , null, "\\ud83d\\ude00\\"]", [ ], { }], "skipped": 7.25, "b": [-0, 1E+3]}  \n'
    )
    file.write_text("\ufeff" + text, encoding="utf-8")
    assert scanned_values(file, chunk) == expected(json.loads(text))


def scanned_values(file: Path, chunk: int) -> list[tuple[str, Any]]:
    return [(element.key, element.value) for element in array_elements(file, chunk)]


def test_the_instances_of_coco(shared: Path) -> None:
    file = shared / "samples" / "coco2014" / "annotations" / "instances_val2014.json"
    document = json.loads(file.read_bytes())
    for chunk in (1000, 1 << 19):
        assert scanned(file, chunk) == expected(document)


@pytest.mark.parametrize("chunk", [1, 5, 1 << 19])
@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("7", 0),
        ('{"a": [1, 2], "b": [{"c": 1}, {"c": x}]}', 36),
        ('{"a": [1, 2', 11),
        ('{"a": [1, 2]', 12),
        ('{"a": [1 2]}', 9),
        ('{"a": [1, ]}', 10),
        ('{"a" [1]}', 5),
        ("{1: [1]}", 2),
        ("[1] 2", 4),
        ('["ab', 1),
        ('["\\q"]', 2),
        ('["\\u00"]', 3),
        ('["a\nb"]', 3),
        ("[" * 100_000, None),
        ('{"a": [' + "[" * 100_000 + "]" * 100_000 + "]}", None),
        ('{"a":' * 100_000, None),
        ('[{"é": 1}, x]', 12),
        ("[" + "9" * 5000 + "]", 1),
    ],
)
def test_broken_files_name_the_byte(tmp_path: Path, text: str, position: int | None, chunk: int) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text)
    if len(text) > 100 and chunk < 100:
        chunk = 1 << 10
    with pytest.raises(InputError, match=r"broken\.json: byte \d+: .*; fetch this file again") as error:
        list(array_elements(file, chunk))
    if position is not None:
        assert abs(int(str(error.value).split("byte ")[1].split(":")[0]) - position) <= 2


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    text = json.dumps({"a": [{"b": [1.5, "ä", None]}, 12], "c": 3})
    file = tmp_path / "cut.json"
    for length in range(len(text)):
        file.write_text(text[:length])
        with pytest.raises(InputError, match="byte"):
            list(array_elements(file, 4))


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    good = json.dumps({"a": [{"b": [1.5, "é", None]}, 12], "c": "d"}, ensure_ascii=False).encode()
    rng, file = random.Random(5), tmp_path / "changed.json"
    for _ in range(500):
        data = bytearray(good)
        data[rng.randrange(len(data))] = rng.randrange(256)
        file.write_bytes(data)
        try:
            document = json.loads(bytes(data).decode())
        except ValueError:
            with pytest.raises(InputError, match="byte"):
                list(array_elements(file, 8))
        else:
            assert len(scanned_values(file, 8)) <= len(expected(document)) + 2  # a key may stand there twice


def test_missing_and_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: not readable .*; unpack"):
        list(array_elements(tmp_path / "none.json"))
    with pytest.raises(InputError, match="not readable"):
        list(array_elements(tmp_path))


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize(
    ("data", "position"),
    [
        ('["ok", "é"]'.encode("latin-1"), 8),
        ('["é€😀", "'.encode() + b'\xf0\x9f"]', 15),
        (b'["ok"], \xff', 8),
        ("[1, é".encode()[:-1], 4),
        (b"\xef\xbb", 0),
        ('{"\ufeff": ["'.encode() + b'\xed\xa0\x80"]}', 10),
    ],
)
def test_bytes_that_are_not_utf8(tmp_path: Path, data: bytes, position: int, chunk: int) -> None:
    file = tmp_path / "latin.json"
    file.write_bytes(data)
    with pytest.raises(InputError, match=rf"latin\.json: byte {position}: not readable as JSON: not UTF-8; fetch"):
        list(array_elements(file, chunk))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    element = json.dumps({"segmentation": [[0.5] * 60], "image_id": 7, "category_id": 1, "iscrowd": 0})
    count = 20_000_000 // len(element)
    with file.open("w") as stream:
        stream.write('{"info": {}, "annotations": [')
        stream.writelines(f"{element}, " for _ in range(count - 1))
        stream.write(element + "]}")
    tracemalloc.start()
    found = sum(1 for _ in array_elements(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == count and file.stat().st_size > 19_000_000
    assert peak < 5_000_000


def test_an_endless_element_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LONGEST", 1000)
    file = tmp_path / "endless.json"
    file.write_text('{"a": ["' + "x" * 100_000 + '"]}')
    with pytest.raises(InputError, match="byte 7: .*more than 1000 bytes"):
        list(array_elements(file, 64))


@pytest.mark.parametrize("value", [[], {}, {"id": "7"}, {"id": -1}, {"id": 1.0}, {"id": 10**20}, {"id": None}])
def test_whole_numbers(value: Any) -> None:
    assert Element(Path("f.json"), "", {"id": 7}, 3, 5).whole("id") == 7
    with pytest.raises(InputError, match=r"f\.json: byte 3: id is .*; fetch"):
        Element(Path("f.json"), "", value, 3, 5).whole("id")
