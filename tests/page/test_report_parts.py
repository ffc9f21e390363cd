"""What reports are made of: score tables, stored pictures, overlays, charts and bars."""

import doctest
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhr.core.errors import InputError
from dhr.evaluation import tables
from dhr.evaluation.gallery import load_gallery, overlay, save_gallery
from dhr.evaluation.tables import score_table
from dhr.page.line_chart import Chart, Line, line_chart, thin, ticks
from dhr.page.pictures import image_miou
from dhr.page.render import part, templates


def scores_of(miou: float, split: str = "validation") -> dict[str, object]:
    means = {"miou": miou, "mfpr": 0.12345, "mfnr": 0.07654, "small_mfnr": None}
    return {"definition": "one matrix", "split": split, "images": 4, "missing": 0, **means, "measured": "here"}


def draw_scene() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), rng.integers(0, 4, (24, 32), dtype=np.uint8)


def test_score_table_rounds_and_marks() -> None:
    rows = [("given", scores_of(75.04, split="train")), ("plain", scores_of(71.26)), ("ours", scores_of(79.96))]
    lines = score_table(rows).splitlines()
    assert "80.0*" in lines[3] and "71.3" in lines[2] and "71.3*" not in lines[2] and "75.0*" not in lines[1]
    assert "0.123" in lines[1] and "0.077" in lines[1] and "small mFNR" not in lines[0]
    assert lines[-1] == "definition: one matrix"
    assert len({line.index("measured here") for line in lines[1:4]}) == 1, "columns are aligned"
    assert "nan" not in score_table([("empty", {"miou": math.nan, "mfpr": None})])


def test_docstring_examples() -> None:
    assert doctest.testmod(tables, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_gallery_comes_back(tmp_path: Path) -> None:
    image, mask = draw_scene()
    path = tmp_path / "a.npz"
    save_gallery(path, image=image, truth=mask, tags=["ember_disc"])
    first = path.read_bytes()
    found = load_gallery(path)
    assert set(found) == {"image", "truth", "tags"} and found["tags"].tolist() == ["ember_disc"]
    assert np.array_equal(found["image"], image) and np.array_equal(found["truth"], mask)
    save_gallery(path, image=image, truth=mask, tags=["ember_disc"])
    assert path.read_bytes() == first


def test_gallery_refuses_other_arrays(tmp_path: Path) -> None:
    image, mask = draw_scene()
    path = tmp_path / "a.npz"
    for maps in ({"labels": mask}, {"truth": mask[1:]}, {"truth": mask.astype(np.int64)}, {"truth": image}):
        with pytest.raises(InputError, match="a.npz"):
            save_gallery(path, image=image, **maps)
    np.savez(path, image=image, truth=np.array([{"pickled": 1}], dtype=object))
    with pytest.raises(InputError, match="unreadable"):
        load_gallery(path)


def test_overlay_shows_classes_ignore_and_borders() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30], mask[:, 35:] = 1, 255
    drawn = overlay(image, mask, [(0, 0, 0), (250, 0, 0)])
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert (drawn[2, 2] == 100).all(), "background is see-through"
    assert drawn[20, 20, 0] > drawn[20, 20, 1]
    assert (drawn[10, 20] != drawn[20, 20]).any(), "borders stand out"
    hatched = drawn[:, 36:]
    assert len(np.unique(hatched)) == 2 and (hatched[..., 0] == hatched[..., 1]).all()
    assert (overlay(image, np.full_like(mask, 7), [(0, 0, 0)])[20, 20] > 150).all(), "unknown labels are white"


def test_image_miou_against_a_plain_count() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        mask, truth = rng.choice([0, 1, 2, 255], (2, 6, 5)).astype(np.uint8)
        kept = truth != 255
        classes = sorted({*mask[kept].tolist(), *truth[kept].tolist()} - {255})
        shares = [
            ((mask == label) & (truth == label) & kept).sum() / (((mask == label) | (truth == label)) & kept).sum()
            for label in classes
        ]
        assert image_miou(mask, truth) == pytest.approx(100 * np.mean(shares))
    assert image_miou(mask, np.full_like(truth, 255)) == 100.0


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_ticks_enclose(first: float, second: float) -> None:
    low, high = sorted((first, second))
    found = ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-9)
    assert 2 <= len(found) <= 12 and found == sorted(found)
    assert found[0] <= low + slack and found[-1] >= high - slack


def draw_chart(chart: Chart) -> str:
    """The chart as the pages have it."""
    return str(templates().get_template("macros.html.j2").module.line_chart(chart))  # type: ignore[attr-defined]


def test_charts_take_what_is_odd() -> None:
    lines = [Line("one", 0, [(5.0, 1.0)]), Line("none", 1, [(1.0, math.nan)]), Line("flat", 9, [(0, 2.0), (9, 2.0)])]
    charts = [
        line_chart(lines, title="t", description="d", x_label="step"),
        line_chart([], title="t", description="d", x_label="step", reference=("given", 3.0)),
        line_chart([Line("</svg><b>", 0, [(0.0, 1.0)])], title="t", description="d", x_label="<step>"),
    ]
    for chart in charts:
        drawn = draw_chart(chart)
        assert "nan" not in drawn
        svg = ElementTree.fromstring(drawn)[1]
        assert svg[0].text == "t" and str(svg[1].text).startswith("d")
    gap = line_chart([Line("g", 0, [(0, 1.0), (1, math.nan), (2, 1.0)])], title="t", description="d", x_label="step")
    assert re.search(r'd="M[\d. ]+M[\d. ]+"', draw_chart(gap)), "a NaN lifts the pen"
    points = thin([(float(step), math.nan if step % 2 else 1.0) for step in range(1000)])
    assert len(points) <= 240 and {y for _, y in points} == {1.0}


@pytest.mark.parametrize(
    ("value", "length"), [(50, "0.5"), (0, "0"), (-3, "0"), (1e300, "1"), (math.nan, ""), (None, ""), ("1;x", "")]
)
def test_bars_end_with_their_cell(value: object, length: str) -> None:
    assert part(value, 100) == length
