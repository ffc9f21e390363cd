"""The report of a run: one HTML file that needs no network and no other file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dhr.config.provenance import MEANINGS
from dhr.core.words import duration, word
from dhr.disk.atomic import read_object, write_atomically
from dhr.evaluation.tables import count, interval, number, score_table, words
from dhr.page.block_charts import BlockChart, bars_of, matrix_of
from dhr.page.explorer import Explored, explore
from dhr.page.line_chart import DRAWN, Chart, Line, line_chart
from dhr.page.pictures import Drawn, draw, gallery_of, predicted, saved_pictures
from dhr.page.render import render, script_hash
from dhr.page.runs import MAIN_SPLIT, Run, RunData, open_data, open_runs
from dhr.page.scores import (
    ScoreRow,
    SplitClasses,
    bound,
    classes_by_split,
    confusions_of,
    entries_of,
    objects_of,
    score_table_of,
    tau_charts,
)

PAGE = 19_500_000  # bytes of a page at most
OTHERS = 3_000_000  # of them for what is no small picture: the scores of the images, texts, the extremes
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


@dataclass(frozen=True)
class Report:
    """Everything that a report says and shows.

    Attributes:
        runs: the run it is about, and those beside it.
        wss: scores of the given masks.
        data: of the run; None where config.yaml does not say which.
        saved: files in which training saved pictures.
        gallery: the first of them, drawn.
        explored: the predicted images; None where nothing was predicted.
    """

    runs: Sequence[Run]
    wss: ScoreRow | None
    data: RunData | None
    saved: Sequence[Path]
    gallery: Sequence[Drawn]
    explored: Explored | None

    @classmethod
    def read(
        cls,
        run: Path,
        *,
        compare: Sequence[Path] = (),
        wss_scores: Path | None = None,
        wss_masks: str | None = None,
        data: Path | None = None,
    ) -> Self:
        """Reads and scores what the run folders hold.

        Args:
            run: folder of the run the report is about.
            compare: folders of other runs, drawn beside it.
            wss_scores: scores of the given masks, as dhr.evaluate writes them.
            wss_masks: folder of the given masks, with `{split}` for the split.
            data: where data sets lie now; None: where they lay when the run was trained.

        Raises:
            InputError: a folder is missing, or a file in it is broken.
        """
        runs = open_runs(run, compare)
        data_set, saved = open_data(runs[0].folder, data), saved_pictures(runs[0])
        gallery = gallery_of(saved, data_set) if data_set else []
        limit = PAGE - OTHERS - sum(len(shot.source or "") for row in gallery for shot in row.shots)
        explored = explore(runs, data_set, wss_masks=wss_masks, limit=limit)
        name = f"WSS masks ({words(runs[0].record.get('wss'))})"
        wss = ScoreRow(name, None, read_object(wss_scores), runs[0].saw_of("wss")) if wss_scores else None
        return cls(runs, wss, data_set, saved, gallery, explored)

    @property
    def entries(self) -> list[ScoreRow]:
        """Everything that was scored."""
        return entries_of(self.runs, self.wss)

    @property
    def classes(self) -> list[SplitClasses]:
        """Scores per class of the splits in which the run has any."""
        return classes_by_split(self.entries, self.runs[0].splits)

    @property
    def charts(self) -> list[Chart | BlockChart]:
        """Every chart of the report."""
        drawn = [*map(bars_of, self.classes), *map(matrix_of, confusions_of(self.runs[0]))]
        return [*_curves(self.runs, self.wss), *tau_charts(self.runs), *drawn]

    def summary(self) -> str:
        """The score table as plain text: the given masks, then every run."""
        return score_table([(entry.name, entry.scores) for entry in self.entries])

    def write(self) -> Path:
        """Writes <run>/report.html; the same files give the same bytes.

        Parts that are not there yet (scores, pictures, curves) are named in a sentence instead.
        """
        path = self.runs[0].folder.report
        write_atomically(path, self._page())
        return path

    def _page(self) -> bytes:
        main = self.runs[0]
        return render(
            "report.html.j2",
            **_facts(self.runs),
            run=main,
            runs=self.runs,
            main_split=MAIN_SPLIT,
            run_word=word("run", main.folder.root),
            headline=main.scores[main.splits[0]] if main.splits else None,
            table=score_table_of(self.entries),
            saw_means=MEANINGS,
            objects=objects_of(self.entries),
            bound=bound,
            interval=interval,
            tau_charts=tau_charts(self.runs),
            classes=self.classes,
            bars=bars_of,
            matrix=matrix_of,
            curves=_curves(self.runs, self.wss),
            gaps=_gaps(self.runs),
            drawn=DRAWN,
            confusions=confusions_of(main),
            has_classes=self.data is not None,
            saved=len(self.saved),
            gallery=self.gallery,
            explored=self.explored,
            extremes=_extremes(self.explored, main),
            script_hash=script_hash("report.js"),
        )


def write_report(run: Path, **sources: Any) -> Path:
    """Reads and writes the report of a run; arguments as for `Report.read`."""
    return Report.read(run, **sources).write()


def _facts(runs: Sequence[Run]) -> dict[str, object]:
    """What was run, and the settings in which the runs differ."""
    settings = [key for key in FACTS if key not in NO_SETTING]
    return {
        "facts": [key for key in FACTS if runs[0].record.get(key) is not None],
        "different": [key for key in settings if len({fact(key, run.record.get(key)) for run in runs}) > 1],
        "fact": fact,
        "label": _label,
    }


def _extremes(explored: Explored | None, run: Run) -> dict[str, list[Drawn]]:
    """The worst and the best images, drawn for those without script."""
    if explored is None or explored.data is None:
        return {}
    data, split = explored.data, explored.split
    return {
        title: draw([predicted(image_id, data, split, run.folder.masks(split)) for image_id in ids], data.classes)
        for title, ids in explored.extremes().items()
    }


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
