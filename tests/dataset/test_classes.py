"""Class tables: sizes, order, palettes."""

import json
from pathlib import Path

import pytest

from dhr.core.errors import InputError
from dhr.dataset.classes import bit_palette, known_tables, load_classes

LABELS = Path(__file__).resolve().parents[3] / "shared" / "samples" / "labels"
SAMPLES = {
    "voc": ("voc2012", "names"),
    "coco": ("coco2014", "names"),
    "context": ("pascal_context", "names_by_459_id"),
    "ade": ("ade20k", "names"),
    "stuff": ("coco_stuff", "names"),
}


@pytest.mark.parametrize("name", known_tables())
def test_every_table_is_complete(name: str) -> None:
    table = load_classes(name)
    assert len(set(table.names)) == len(table.names) == len(table.palette) == table.num_classes
    assert table.has_background == (table.names[0] == "background") == (table.num_classes == table.num_tags + 1)
    assert table.first_tag == int(table.has_background)
    assert all(0 <= channel <= 255 for colour in table.palette for channel in colour)
    assert table.groups is None or len(table.groups) == len(table.names)
    assert all(images > 0 for images in table.sizes.values()) and "validation" in table.sizes
    assert all(sorted(order) == sorted(table.names) for order in table.orders.values())


@pytest.mark.parametrize(
    ("name", "classes"), [("voc", 21), ("coco", 81), ("context", 59), ("context60", 60), ("ade", 150), ("stuff", 171)]
)
def test_published_number_of_classes(name: str, classes: int) -> None:
    assert load_classes(name).num_classes == classes


@pytest.mark.skipif(not LABELS.is_dir(), reason="samples are not here")
@pytest.mark.parametrize("name", SAMPLES)
def test_names_are_in_the_usual_order(name: str) -> None:
    file, key = SAMPLES[name]
    assert list(load_classes(name).names) == json.loads((LABELS / f"{file}.json").read_text())[key]


@pytest.mark.skipif(not LABELS.is_dir(), reason="samples are not here")
def test_palettes_agree_with_the_samples() -> None:
    for name, file in (("voc", "voc2012"), ("ade", "ade20k")):
        expected = json.loads((LABELS / f"{file}.json").read_text())["palette"]
        assert [list(colour) for colour in load_classes(name).palette] == expected


def test_bit_palette() -> None:
    assert bit_palette(4) == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert bit_palette(256)[255] == (224, 224, 192)
    assert bit_palette(255, first=1) == bit_palette(256)[1:]
    assert load_classes("context").palette == bit_palette(60)[1:]


def test_context_keeps_both_orders() -> None:
    table = load_classes("context")
    assert table.names == table.orders["by_459_id"] != table.orders["voc_first"]
    assert table.orders["voc_first"][:3] == ("aeroplane", "bicycle", "bird")


def test_context60_is_context_behind_a_background() -> None:
    table, other = load_classes("context60"), load_classes("context")
    assert table.names == ("background", *other.names) and table.palette == (bit_palette(1) + other.palette)
    assert table.orders == {order: ("background", *names) for order, names in other.orders.items()}
    assert (table.aliases, table.sizes) == (other.aliases, other.sizes)


def test_toy_has_siblings_in_three_groups() -> None:
    groups = load_classes("toy").groups
    assert groups is not None
    assert [groups.count(group) for group in ("ember", "moss", "azure")] == [3, 3, 3]


@pytest.mark.parametrize("name", ["vox", "../voc", ""])
def test_unknown_table_lists_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match="ade, coco, context, context60, stuff, toy, voc"):
        load_classes(name)
