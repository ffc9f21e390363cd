"""The report of a run: one HTML file that needs no network, no script and no other file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dhr.core.words import duration, word
from dhr.disk.atomic import read_object, write_atomically
from dhr.disk.layout import RunFolder
from dhr.evaluation.tables import count, number, score_table, words
from dhr.page.line_chart import DRAWN, Chart, Line, line_chart
from dhr.page.pictures import gallery_of, predictions_of, saved_pictures
from dhr.page.render import render
from dhr.page.runs import MAIN_SPLIT, Run, open_data, open_runs
from dhr.page.scores import ScoreRow, classes_by_split, confusions_of, entries_of, score_table_of, tau_charts

FACTS = (
    "command", "dataset", "wss", "uss", "rebalancing", "backbone", "decoder", "start", "saw", "licences", "seed", "tau",
    "max_epochs", "steps", "seconds", "status", "device", "versions",
)  # fmt: skip
NO_SETTING = ("command", "seconds", "steps", "status")  # facts in which runs may differ without being other runs
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


def write_report(
    run: Path, *, compare: Sequence[Path] = (), wss_scores: Path | None = None, data: Path | None = None
) -> Path:
    """Writes <run>/report.html from what the run folder holds; the same files give the same bytes.

    Parts that are not there yet (scores, pictures, curves) are named in a sentence instead.

    Args:
        run: folder of the run the report is about.
        compare: folders of other runs, drawn beside it.
        wss_scores: scores of the given masks, as dhr.evaluate writes them.
        data: where data sets lie now; None: where they lay when the run was trained.

    Returns:
        The path of the report.

    Raises:
        InputError: a folder is missing, or a file in it is broken.
    """
    runs, wss = _opened(run, compare, wss_scores)
    main, entries = runs[0], entries_of(runs, wss)
    data_set, pictures = open_data(main.folder, data), saved_pictures(main)
    settings = [key for key in FACTS if key not in NO_SETTING]
    page = render(
        "report.html.j2",
        run=main,
        runs=runs,
        main_split=MAIN_SPLIT,
        run_word=word("run", main.folder.root),
        headline=main.scores[main.splits[0]] if main.splits else None,
        table=score_table_of(entries),
        facts=[key for key in FACTS if main.record.get(key) is not None],
        different=[key for key in settings if len({fact(key, other.record.get(key)) for other in runs}) > 1],
        fact=fact,
        label=_label,
        tau_charts=tau_charts(runs),
        classes=classes_by_split(entries, main.splits),
        curves=_curves(runs, wss),
        gaps=_gaps(runs),
        drawn=DRAWN,
        confusions=confusions_of(main),
        has_classes=data_set is not None,
        saved=len(pictures),
        gallery=gallery_of(pictures, data_set) if data_set else [],
        predictions=predictions_of(main, data_set),
    )
    path = RunFolder(run).report
    write_atomically(path, page)
    return path


def summary(run: Path, *, compare: Sequence[Path] = (), wss_scores: Path | None = None) -> str:
    """The report's score table as plain text: the given masks, then every run; arguments as for write_report."""
    return score_table([(entry.name, entry.scores) for entry in entries_of(*_opened(run, compare, wss_scores))])


def _opened(run: Path, compare: Sequence[Path], wss_scores: Path | None) -> tuple[list[Run], ScoreRow | None]:
    runs = open_runs(run, compare)
    name = f"WSS masks ({words(runs[0].record.get('wss'))})"
    return runs, ScoreRow(name, None, read_object(wss_scores)) if wss_scores else None


def fact(key: str, value: object) -> str:
    """An entry of run.json as a person reads it: seconds as hours and minutes, versions in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in value.items())
    seconds = number(value)
    if key != "seconds" or seconds is None:
        return count(value) if key == "steps" else words(value)
    return duration(seconds)


def _label(key: str) -> str:
    return "time" if key == "seconds" else key.replace("_", " ")


def _curves(runs: Sequence[Run], wss: ScoreRow | None) -> list[Chart]:
    """A chart of every metric that any of the runs has."""
    charts = []
    for column, title in CURVES.items():
        lines = [Line(run.name, run.slot, run.curves[column]) for run in runs if run.curves.get(column)]
        reference, description = _reference(column, wss), f"{title} over training steps."
        if lines:
            charts.append(line_chart(lines, title=title, description=description, x_label="step", reference=reference))
    return charts


def _reference(column: str, wss: ScoreRow | None) -> tuple[str, float] | None:
    """The score of the given masks that the pseudo masks of a curve started from."""
    if wss is None or not column.startswith("train/label_") or not str(wss.scores.get("split")).startswith("train"):
        return None
    value = number(wss.scores.get(column.removeprefix("train/label_")))
    return None if value is None else ("WSS masks", value)


def _gaps(runs: Sequence[Run]) -> list[str]:
    """A sentence for every curve with values that are not finite."""
    sentences = []
    for run in runs:
        for column, points in run.curves.items():
            gaps = sum(number(value) is None for _, value in points)
            if gaps:
                sentences.append(f"{run.name}: {gaps} of {len(points)} values of {column} are not finite (NaN).")
    return sentences
