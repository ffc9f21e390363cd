"""Charts and rows of images as files of their own."""

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from report_pages import RECORD, TOY, add_predictions, draw_scene, make_run

from dhr.config.compose import compose
from dhr.config.relations import check_relations
from dhr.config.stored import stored_text
from dhr.core.errors import InputError
from dhr.disk.layout import RunFolder
from dhr.evaluation.gallery import overlay
from dhr.page import explorer
from dhr.page.figures import GAP, HEAD, check_place, row_png, svg_of, write_figures
from dhr.page.render import DASHES, PAINTS
from dhr.page.report import Report
from dhr.stage.report import report as stage

SVG = "{http://www.w3.org/2000/svg}"


def report_of(root: Path) -> Report:
    """A report of two runs that differ in tau, with predictions."""
    run, other = make_run(root / "run"), make_run(root / "<other>", record={**RECORD, "tau": 0.5}, miou=60.0)
    add_predictions(run)
    add_predictions(other, shift=2)
    return Report.read(run, compare=[other])


def test_every_chart_and_the_chosen_rows_become_files(tmp_path: Path) -> None:
    report, folder = report_of(tmp_path), tmp_path / "figures"
    assert write_figures(folder, report, rows=["val_2", "val_7"]) == 9
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "confusion-validation.svg", "iou-per-class-validation.svg", "loss.svg", "mfnr-over-tau.svg",
        "mfpr-over-tau.svg", "miou-over-tau.svg", "rows/val_2.png", "rows/val_7.png", "validation-miou.svg",
    ]  # fmt: skip
    first = {path.name: path.read_bytes() for path in folder.rglob("*.*")}
    write_figures(folder, report, rows=None)
    assert len(list((folder / "rows").iterdir())) == 8, "without a choice: the four worst and the four best"
    assert all((next(folder.rglob(name))).read_bytes() == data for name, data in first.items())


def test_a_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for free in ("empty", "new"):
        check_place(tmp_path / free, overwrite=False)
    for taken in ("", "file"):
        check_place(tmp_path / taken, overwrite=True)
        with pytest.raises(InputError, match="figures=.*is there already.*overwrite=true"):
            check_place(tmp_path / taken, overwrite=False)


def test_a_chart_stands_on_its_own(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    for chart in report.charts:
        svg = ElementTree.fromstring(svg_of(chart))
        texts = [text.text for text in svg.iter(f"{SVG}text")]
        assert svg.tag == f"{SVG}svg" and chart.title in texts and len(texts) > 4
        assert not [element for element in svg.iter() if "var(" in str(element.attrib) or "style" in element.attrib]
        left, top, width, height = map(float, svg.attrib["viewBox"].split())
        assert (width, height) == (float(svg.attrib["width"]), float(svg.attrib["height"]))
        for text in svg.iter(f"{SVG}text"):
            assert left <= float(text.attrib["x"]) <= left + width and top <= float(text.attrib["y"]) <= top + height
        if chart.legend:
            assert [name for name, _ in chart.legend] == ["run", "<other>"] and {"run", "<other>"} <= set(texts)


def test_print_has_the_colours_and_dashes_of_the_page(tmp_path: Path) -> None:
    style = (Path(__file__).parents[2] / "dhr" / "page" / "page.css").read_text()
    for slot, (paint, dashes) in enumerate(zip(PAINTS, DASHES, strict=True)):
        assert f"--s{slot}: light-dark({paint}, " in style
        assert dashes == "none" or f".s{slot} .line {{ stroke-dasharray: {dashes}; }}" in style
    svg = svg_of(report_of(tmp_path).charts[0])
    assert svg.count(f'stroke="{PAINTS[1]}"') == 2 and svg.count(f'stroke-dasharray="{DASHES[1]}"') == 2


def test_a_row_holds_every_map_at_full_size(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    assert report.explored is not None
    row = np.asarray(Image.open(io.BytesIO(row_png(report.explored, "val_2"))))
    image, truth = draw_scene(2)
    prediction = truth.copy()
    prediction[:, 6:8] = 0
    height, width = truth.shape
    assert row.shape == (height + HEAD, 4 * (width + GAP) - GAP, 3)
    due = [image, overlay(image, truth, TOY.palette), overlay(image, prediction, TOY.palette)]
    for place, picture in enumerate(due):
        left = place * (width + GAP)
        assert np.array_equal(row[HEAD:, left : left + width], picture), place
        assert (row[:HEAD, left : left + width] < 128).any(), "its name stands above it"


@pytest.mark.parametrize("image_id", ["val_77", "../data/Toy/validation/mask/val_2"])
def test_an_unknown_image_is_named(tmp_path: Path, image_id: str) -> None:
    with pytest.raises(InputError, match="rows=.*no image of this id"):
        write_figures(tmp_path / "figures", report_of(tmp_path), rows=[image_id])
    assert not (tmp_path / "figures").exists()


def test_rows_need_a_place() -> None:
    with pytest.raises(InputError, match="rows: .*figures=<folder>"):
        check_relations("report", {"run": "x", "rows": ["a"], "figures": None})


def test_an_unknown_image_is_refused_before_any_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    add_predictions(run)
    data = f"paths.data={tmp_path / 'data'}"
    RunFolder(run).config.write_text(stored_text(compose("train", ["dataset=toy", "wss=simulated", data])))
    scored: list[str] = []
    monkeypatch.setattr(explorer, "see", lambda image_id, *_: scored.append(image_id))
    words = [f"run={run}", f"figures={tmp_path / 'figures'}", data]
    with pytest.raises(InputError, match="rows=val_77: no image of this id.*did you mean val_7"):
        stage(compose("report", [*words, "rows=[val_2,val_77]"]))
    assert scored == [] and not (tmp_path / "figures").exists() and not RunFolder(run).report.exists()
