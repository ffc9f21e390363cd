"""The report of a run: one HTML file that needs no network, no script and no other file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dhr.disk.atomic import read_object, write_atomically
from dhr.disk.layout import RunFolder
from dhr.evaluation.tables import count, number, percent, ratio, score_table, words
from dhr.page.markup import Markup, element, join
from dhr.page.pictures import gallery_section, prediction_section
from dhr.page.plots import DRAWN, Line, line_chart
from dhr.page.runs import Run, open_data, open_runs
from dhr.page.scores import (
    Entry,
    class_section,
    confusion_section,
    entries_of,
    keys,
    note,
    score_section,
    swatch,
    table,
    tau_section,
)

STYLE = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the browser itself refuses all else
FACTS = (
    "command",
    "dataset",
    "wss",
    "uss",
    "rebalancing",
    "backbone",
    "decoder",
    "start",
    "saw",
    "licences",
    "seed",
    "tau",
    "max_epochs",
    "steps",
    "seconds",
    "status",
    "device",
    "versions",
)
LONG = ("command", "device", "versions")  # facts that get a line of their own
CURVES = {
    "validation/miou": "validation mIoU, %",
    "validation/mfpr": "validation mFPR",
    "validation/mfnr": "validation mFNR",
    "train/label_miou": "pseudo masks: mIoU, %",
    "train/label_mfpr": "pseudo masks: mFPR",
    "train/label_mfnr": "pseudo masks: mFNR",
    "train/loss": "loss",
    "train/loss_segmentation": "loss, segmentation",
    "train/loss_classification": "loss, classification",
    "train/lr": "learning rate",
}


def write_report(run: Path, *, compare: Sequence[Path] = (), wss_scores: Path | None = None) -> Path:
    """Writes <run>/report.html from what the run folder holds; the same files give the same bytes.

    Parts that are not there yet (scores, pictures, curves) are named in a sentence instead.

    Args:
        run: folder of the run the report is about.
        compare: folders of other runs, drawn beside it.
        wss_scores: scores of the given masks, as dhr.evaluate writes them.

    Returns:
        The path of the report.

    Raises:
        InputError: a folder is missing, or a file in it is broken.
    """
    runs = open_runs(run, compare)
    given = f"WSS masks ({words(runs[0].record.get('wss'))})"
    wss = Entry(given, None, read_object(wss_scores)) if wss_scores else None
    path = RunFolder(run).report
    write_atomically(path, _page(runs, wss).encode("utf-8", "replace"))
    return path


def summary(run: Path, *, compare: Sequence[Path] = (), wss_scores: Path | None = None) -> str:
    """The report's score table as plain text: the given masks, then every run; arguments as for write_report."""
    runs = open_runs(run, compare)
    given = [(f"WSS masks ({words(runs[0].record.get('wss'))})", read_object(wss_scores))] if wss_scores else []
    return score_table([*given, *((each.name, each.scores[split]) for each in runs for split in each.splits)])


def _page(runs: Sequence[Run], wss: Entry | None) -> Markup:
    sections = _sections(runs, wss)
    links = [element("a", title, href=f"#{anchor}") for anchor, title, _ in sections]
    body = [
        element("section", element("h2", title), content, id=anchor, class_="part")
        for anchor, title, content in sections
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", f"{runs[0].name} - report"),
        element("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    main = element("main", _header(runs[0]), element("nav", *links, aria_label="Sections"), *body)
    return join([Markup("<!doctype html>\n"), element("html", head, element("body", main), lang="en"), Markup("\n")])


def _sections(runs: Sequence[Run], wss: Entry | None) -> list[tuple[str, str, Markup]]:
    data = open_data(runs[0].folder)
    entries = entries_of(runs, wss)
    parts: list[tuple[str, str, Markup | None]] = [
        ("scores", "Scores", score_section(entries, runs[0])),
        ("run", "What was run", _record(runs)),
        ("tau", "Score over tau", tau_section(runs)),
        ("classes", "Classes", class_section(entries, runs[0].splits)),
        ("curves", "Curves", _curves(runs, wss)),
        ("confusion", "Confusion", confusion_section(runs[0])),
        ("pictures", "Pictures from training", gallery_section(runs[0], data)),
        ("predictions", "Worst and best predictions", prediction_section(runs[0], data)),
    ]
    return [(anchor, title, content) for anchor, title, content in parts if content is not None]


def _header(run: Run) -> Markup:
    record = run.record
    setting = [words(record.get(key)) for key in ("dataset", "wss", "uss", "rebalancing", "backbone", "decoder")]
    lead = "dataset {}, WSS masks {}, USS features {}, rebalancing {}, {} with {}".format(*setting)
    parts = [element("p", "dhr report", class_="brow"), element("h1", run.name)]
    parts.append(element("p", lead if record else "run.json is missing, so what was run is unknown.", class_="lead"))
    if run.splits:
        parts.append(_headline(run.scores[run.splits[0]]))
    return element("header", *parts)


def _headline(scores: Mapping[str, Any]) -> Markup:
    facts = [
        ("mIoU", percent(scores.get("miou")) + " %"),
        ("mFPR", ratio(scores.get("mfpr"))),
        ("mFNR", ratio(scores.get("mfnr"))),
    ]
    big = [element("div", element("dt", name), element("dd", value)) for name, value in facts]
    images, missing = count(scores.get("images")), count(scores.get("missing"))
    source = "measured here" if scores.get("measured") == "here" else words(scores.get("measured"))
    under = f"{words(scores.get('split'))}, {images} images, {missing} missing, {source}"
    return join([element("dl", *big, class_="headline"), element("p", under, class_="note")])


def _record(runs: Sequence[Run]) -> Markup:
    own = runs[0].record
    if not own:
        return note("run.json is missing in this run folder.")
    pairs = [(key, fact(key, own.get(key))) for key in FACTS if own.get(key) is not None]
    items = []
    for key, value in pairs:
        shown = element("code", value) if key == "command" else value
        kind = "wide" if key in LONG else None
        items.append(element("div", element("dt", _label(key)), element("dd", shown), class_=kind))
    return join([element("dl", *items, class_="facts"), _differences(runs)])


def _label(key: str) -> str:
    return "time" if key == "seconds" else key.replace("_", " ")


def fact(key: str, value: object) -> str:
    """An entry of run.json as a person reads it: seconds as hours and minutes, versions in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in value.items())
    seconds = number(value)
    if key != "seconds" or seconds is None:
        return count(value) if key == "steps" else words(value)
    hours, minutes = divmod(round(seconds) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {round(seconds) % 60} s"


def _differences(runs: Sequence[Run]) -> Markup:
    """Settings in which the compared runs differ, one row per run."""
    keys = [key for key in FACTS if key not in ("command", "seconds", "steps", "status")]
    different = [key for key in keys if len({fact(key, run.record.get(key)) for run in runs}) > 1]
    if len(runs) < 2:
        return join([])
    if not different:
        return note("The compared runs have the same settings.")
    rows = [
        [join([swatch(run.slot), run.name]), *(fact(key, run.record.get(key)) for key in different)] for run in runs
    ]
    head = ["run", *map(_label, different)]
    return join([element("h3", "Where the compared runs differ"), table(head, rows, [False] * len(head))])


def _curves(runs: Sequence[Run], wss: Entry | None) -> Markup:
    if not any(run.curves for run in runs):
        return note("metrics.csv is missing or empty, so there are no curves to draw.")
    figures = [_curve(runs, column, title, wss) for column, title in CURVES.items()]
    key = keys([(run.name, run.slot) for run in runs])
    said = [key, *_gaps(runs), element("div", *figures, class_="grid")]
    said.append(note(f"Curves of more than {DRAWN} points are drawn as means of neighbouring points."))
    return join(said)


def _curve(runs: Sequence[Run], column: str, title: str, wss: Entry | None) -> Markup:
    lines = [Line(run.name, run.slot, run.curves[column]) for run in runs if run.curves.get(column)]
    if not lines:
        return join([])
    reference = None
    if wss and column.startswith("train/label_") and str(wss.scores.get("split")).startswith("train"):
        value = number(wss.scores.get(column.removeprefix("train/label_")))
        reference = None if value is None else ("WSS masks", value)
    about = f"{title} over training steps."
    plot = line_chart(lines, title=title, description=about, x_label="step", keys=False, reference=reference)
    return element("figure", element("figcaption", title), plot)


def _gaps(runs: Sequence[Run]) -> list[Markup]:
    said = []
    for run in runs:
        for column, points in run.curves.items():
            broken = sum(number(value) is None for _, value in points)
            if broken:
                said.append(note(f"{run.name}: {broken} of {len(points)} values of {column} are not finite (NaN)."))
    return said
