"""The report of a run, made from small run folders with real files."""

import math
import re
from pathlib import Path

import pytest
from report_pages import RECORD, Outline, add_predictions, check_self_contained, draw_scene, make_run, read, scores_of

from dhr.core.errors import InputError
from dhr.disk.atomic import write_json
from dhr.disk.layout import RunFolder
from dhr.evaluation.gallery import save_gallery
from dhr.page.report import write_report


def test_complete_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "simulated-dhr")
    add_predictions(run)
    page = read(write_report(run))
    for said in ("simulated-dhr", "71.3 %", "0.123", "0.077", "measured here", "1 h 2 min", "12,345", "torch 2.15.0",
                 "one matrix", "scene_0", "pseudo mask", "ignored", "Worst", "Best", "ember_disc"):  # fmt: skip
        assert said in page.text, said
    titles = [page.words[index] for index, word in enumerate(page.words) if word in ("loss", "validation mIoU, %")]
    assert titles
    assert "pseudo masks: mIoU, %" not in page.text, "a column that is missing is not drawn"
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 2 * 4 + 8 * 3
    assert all(picture["alt"] for picture in pictures)
    check_self_contained(write_report(run).read_text())
    assert sorted(path.name for path in run.iterdir()) == [
        "config.yaml", "gallery", "masks", "metrics.csv", "report.html", "run.json", "scores",
    ]  # fmt: skip


def test_same_files_same_bytes(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "a"), make_run(tmp_path / "b", miou=60.0)
    add_predictions(run)
    add_predictions(other, shift=3)
    first = write_report(run, compare=[other]).read_bytes()
    assert write_report(run, compare=[other]).read_bytes() == first


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    name = "<script>alert(1)<script>&\"'><img src=x onerror=alert(2)>"
    record = {**RECORD, "command": "</title><script>x</script>", "device": name, "versions": {name: name}}
    run = make_run(tmp_path / name, record=record)
    classes = [{"name": f"{name}{index}", "iou": 1.0, "fnr": 0.5, "truth_pixels": 3} for index in range(2)]
    bad = scores_of(50.0, classes=classes, confusion=[[1, 2], [3, 4]], definition=name, measured=name)
    write_json(RunFolder(run).scores("validation"), bad)
    image, mask = draw_scene(1)
    save_gallery(RunFolder(run).gallery / f"{name}.npz", image=image, truth=mask, tags=[name])
    page = write_report(run, compare=[make_run(tmp_path / "other")]).read_text()
    check_self_contained(page)
    assert name in Outline(page).text


def test_empty_run_says_what_is_missing(tmp_path: Path) -> None:
    run = tmp_path / "empty"
    run.mkdir()
    page = read(write_report(run))
    for said in ("run.json is missing", "python -m dhr.evaluate run=", "no scores per class", "no confusion matrix",
                 "metrics.csv is missing or empty", "saved no pictures", "python -m dhr.predict run="):  # fmt: skip
        assert said in page.text, said


def test_parts_that_are_not_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    add_predictions(run)
    (tmp_path / "data" / "Toy").rename(tmp_path / "moved")
    RunFolder(run).metrics.write_text("")
    page = read(write_report(run)).text
    assert "data folder of split validation is not on this machine" in page
    assert "metrics.csv is missing or empty" in page
    RunFolder(run).config.unlink()
    assert "config.yaml does not say" in read(write_report(run)).text


@pytest.mark.parametrize("broken", ["run.json", "scores/validation.json", "config.yaml", "gallery/scene_0.npz"])
def test_broken_files_are_named(tmp_path: Path, broken: str) -> None:
    run = make_run(tmp_path / "run")
    for content in (b"[1", b"\xff\xfe{"):
        (run / broken).write_bytes(content)
        with pytest.raises(InputError, match=re.escape(broken)):
            write_report(run)
    assert not RunFolder(run).report.exists()


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere"):
        write_report(make_run(tmp_path / "run"), compare=[tmp_path / "nowhere"])


def test_compared_runs(tmp_path: Path) -> None:
    run, same = make_run(tmp_path / "x" / "run"), make_run(tmp_path / "y" / "run", miou=80.0)
    strange = make_run(tmp_path / "strange")
    classes = [{"name": "other", "iou": 1.0, "truth_pixels": 1}]
    write_json(RunFolder(strange).scores("validation"), scores_of(50.0, classes=classes))
    wss = tmp_path / "wss.json"
    write_json(wss, scores_of(60.0, split="train"))
    text = write_report(run, compare=[same, strange, run], wss_scores=wss).read_text()
    page = Outline(text)
    assert text.index("x/<wbr>run</th>") < text.index("y/<wbr>run</th>") < text.index("WSS masks (simulated)")
    assert text.count('<th scope="row"><span class="swatch s0"></span>x/<wbr>run</th>') == 1, "named twice, shown once"
    assert "<b>80.0</b>" in text and "<b>60.0</b>" not in text, "splits do not compete"
    assert "strange has other classes" in page.text
    assert "The compared runs have the same settings." in page.text


def test_score_over_tau(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    sweep = [make_run(tmp_path / f"tau{tau}", record={**RECORD, "tau": tau}, miou=60 + tau) for tau in (0.6, 0.9)]
    other = make_run(tmp_path / "seed", record={**RECORD, "tau": 0.7, "seed": 2})
    assert "Score over tau" not in read(write_report(run, compare=[other])).text
    text = read(write_report(run, compare=[*sweep, other])).text
    assert "Score over tau" in text and "Where the compared runs differ" in text
    assert "60.6 at 0.6" in text and "at 0.7" not in text


def test_values_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    curves = [{"step": step, "train/loss": math.nan if step == 3 else 1.0 / step} for step in range(1, 9)]
    text = read(write_report(make_run(tmp_path / "run", curves=curves))).text
    assert "1 of 8 values of train/loss are not finite" in text


NEWER = {
    "miou_interval": [69.04, 72.5], "boundary": {"miou": 43.21},
    "objects": [{"below": 0.01, "objects": 1200, "found": 0.25, "recall": 0.125},
                {"below": 0.05, "objects": 3000, "found": 0.5, "recall": 0.4}],
}  # fmt: skip


def test_newer_scores_are_shown_where_a_file_has_them(tmp_path: Path) -> None:
    run, old = make_run(tmp_path / "run"), make_run(tmp_path / "old")
    plain = read(write_report(old)).text
    assert not [
        word for word in ("95\xa0% interval", "boundary mIoU", "boundary IoU", "Objects found") if word in plain
    ]
    scores = scores_of(71.0, **NEWER)
    scores["classes"][1] |= {"iou_interval": [9.96, 12.04], "boundary_iou": 7.77}  # type: ignore[index]
    write_json(RunFolder(run).scores("validation"), scores)
    words = [word.strip() for word in read(write_report(run, compare=[old])).words if word.strip()]
    due = ("95\xa0% interval", "69.0..72.5", "boundary mIoU\xa0%", "43.2", "10.0..12.0", "boundary IoU\xa0%", "7.8")
    assert [said for said in due if said not in words] == []
    start = words.index("recall") + 1
    assert words[start : start + 12] == [
        "run", "validation", "1 %", "1,200", "0.250", "0.125",
        "run", "validation", "5 %", "3,000", "0.500", "0.400",
    ]  # fmt: skip


def test_what_every_mask_saw_stands_beside_its_scores(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", record={**RECORD, "saw": {"backbone": "I", "wss": "ST", "uss": "nothing"}})
    write_json(tmp_path / "wss.json", scores_of(60.0, split="train"))
    old = make_run(tmp_path / "old")
    text = write_report(run, compare=[old], wss_scores=tmp_path / "wss.json").read_text()
    cells = re.findall(r'<th scope="row">.*?</span>(.*?)</th>\s*<td title="(.*?)">(.*?)</td>', text)
    assert cells == [
        ("run", "I ImageNet labels, S images without labels, T images with texts", "IST"),
        ("old", "? not told", "?"),
        ("WSS masks (simulated)", "S images without labels, T images with texts", "ST"),
    ]
