"""Everything of a data set that lies on disk in one table: WSS masks, networks, second stages, open-vocabulary masks.

Usage: python scripts/rivals_table.py dataset=toy [further settings of the data set, paths.data=<folder>]
Rows are the masks below <data>/WSS and <data>/OVSeg, the runs below <outputs>/<dataset>/runs that have scores of a
split, and what others published for the data set (scripts/published.json), which is said in the last column. Runs whose
names differ in -seed<number> alone are one row. The table is shown and written to <outputs>/<dataset>/rivals.md.
"""

import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from wss_table import Method, complete, methods_of, of_data_set, scored

from dhr.config.command import WRONG_INPUT
from dhr.config.provenance import UNKNOWN, in_words, joined
from dhr.disk.atomic import read_object, write_atomically
from dhr.disk.layout import RunFolder
from dhr.disk.ledger import Ledger
from dhr.stage.parts import open_split

PUBLISHED = Path(__file__).with_name("published.json")
KINDS = ("masks", "open vocabulary", "network", "second stage", "truth")  # in the order of the table
QUERY_DECODERS = ("mask2former", "eomt")
SCORES = (("mIoU %", "miou", 1), ("mFPR", "mfpr", 3), ("mFNR", "mfnr", 3), ("small classes mFNR", "small_mfnr", 3))
HEAD = ("kind", "what", "saw", "split", *(head for head, _, _ in SCORES), "seeds", "source")
FACTS = ("wss", "rebalancing", "backbone", "decoder", "max_epochs")  # of a run, beside its name


@dataclass(frozen=True)
class Row:
    """What was scored once or with several seeds, or published.

    Attributes:
        kind: one of KINDS.
        name: of a method or of runs, with what tells them apart.
        saw: letters of what its weights saw.
        split: of the scores.
        scores: one entry per seed, with the keys of a score file.
        source: who measured.
    """

    kind: str
    name: str
    saw: str
    split: str
    scores: Sequence[dict[str, Any]]
    source: str = "measured here"

    def cell(self, key: str, digits: int) -> str:
        """Mean and standard deviation over the seeds, the value alone where there is one."""
        values = [score[key] for score in self.scores if score.get(key) is not None]
        if not values or len(values) < len(self.scores):
            return "-"
        spread = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
        return f"{statistics.fmean(values):.{digits}f}{spread}"

    @property
    def rank(self) -> tuple[int, int, float]:
        """Where the row stands: by kind, measured before published, the best first."""
        return (
            KINDS.index(self.kind),
            self.source != "measured here",
            -statistics.fmean(score["miou"] for score in self.scores),
        )


def show_rivals(cfg: DictConfig, typed: Sequence[str]) -> int:
    """Prints the table; 2 where nothing is on disk."""
    measured = [*masks_of(cfg, typed), *open_vocabulary_of(cfg, typed), *runs_of(Path(cfg.paths.outputs), cfg)]
    if not measured:
        print(f"{cfg.paths.data}, {cfg.paths.outputs}: nothing of {cfg.dataset.name} is scored yet", file=sys.stderr)
        return WRONG_INPUT
    text = table(cfg.dataset.name, [*measured, *published(cfg.dataset.name)])
    target = Path(cfg.paths.outputs) / cfg.dataset.name / "rivals.md"
    write_atomically(target, f"{text}\n".encode())
    print(f"{text}\n{target}")
    return 0


def masks_of(cfg: DictConfig, typed: Sequence[str]) -> list[Row]:
    """Masks of the training split, of every WSS method."""
    split = open_split(cfg, cfg.dataset.splits.train)
    methods = complete(methods_of(cfg, typed), split) if split.truths.folder.is_dir() else []
    return [_mask_row("masks", method, split.name, typed) for method in methods]


def open_vocabulary_of(cfg: DictConfig, typed: Sequence[str]) -> list[Row]:
    """Masks of the validation split from models that were asked by words, with the letters that dhr.ground wrote."""
    split = open_split(cfg, cfg.dataset.splits.validation)
    folders = (Path(cfg.paths.data) / "OVSeg" / cfg.dataset.folder).glob("*")
    found = [(folder.name, folder / split.name if (folder / split.name).is_dir() else folder) for folder in folders]
    methods = [Method(name, folder, letters_of(folder)) for name, folder in sorted(found) if any(folder.glob("*.png"))]
    return [_mask_row("open vocabulary", method, split.name, typed) for method in complete(methods, split)]


def letters_of(folder: Path) -> str:
    """What the models behind masks of dhr.ground saw; UNKNOWN where nothing is written beside them."""
    record = Ledger(folder).settings
    return str(read_object(record).get("saw") or UNKNOWN) if record.is_file() else UNKNOWN


def _mask_row(kind: str, method: Method, split: str, typed: Sequence[str]) -> Row:
    return Row(kind, method.name, method.saw, split, [scored(method, split, typed)])


def runs_of(outputs: Path, cfg: DictConfig) -> list[Row]:
    """The scored runs of a data set; those that differ in their seeds alone together."""
    alike: dict[tuple[str, ...], list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for folder in sorted((outputs / cfg.dataset.name / "runs").glob("*")):
        run = RunFolder(folder)
        for path in sorted((folder / "scores").glob("*.json")):
            record, stem = read_object(run.record), re.sub(r"-seed\d+$", "", folder.name)
            alike[stem, path.stem, *(str(record.get(fact)) for fact in FACTS)].append((record, read_object(path)))
    several = zip(*(key[2:] for key in alike), strict=True)
    telling = {fact for fact, values in zip(FACTS, several, strict=True) if len(set(values)) > 1} if alike else set()
    rows = []
    for (stem, split, *facts), found in alike.items():
        letters = joined(letter for each, _ in found for letter in (each.get("saw") or {"weights": UNKNOWN}).values())
        told = [f"{fact}={value}" for fact, value in zip(FACTS, facts, strict=True) if fact in telling]
        name = f"{stem} ({', '.join(told)})" if told else stem
        rows.append(Row(kind_of(found[0][0]), name, letters, split, [scores for _, scores in found]))
    return rows


def kind_of(record: dict[str, Any]) -> str:
    """What a run is: trained on the truth, on masks that another run predicted, or on the masks of a WSS method."""
    if record.get("wss") == "truth":
        return "truth"
    queries = str(record.get("decoder")).startswith(QUERY_DECODERS)
    return "second stage" if record.get("wss") == "dhr" or queries else "network"


def published(dataset: str) -> list[Row]:
    """What others report for a data set."""
    return [
        Row(entry["kind"], entry["name"], entry["saw"], entry["split"], [entry], f"published: {entry['source']}")
        for entry in json.loads(PUBLISHED.read_text())
        if entry["dataset"] == dataset
    ]


def table(dataset: str, rows: Iterable[Row]) -> str:
    """Markdown whose columns are aligned, so that a terminal shows it too."""
    ordered = sorted(rows, key=lambda row: row.rank)
    cells = [list(HEAD)]
    for row in ordered:
        values = [row.cell(key, digits) for _, key, digits in SCORES]
        cells.append([row.kind, row.name, row.saw, row.split, *values, str(len(row.scores)), row.source])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    note = f"saw: {in_words(joined(row.saw for row in ordered))}"
    return "\n\n".join([f"{dataset}: mean +- standard deviation over the seeds", "\n".join(lines), note])


if __name__ == "__main__":
    sys.exit(of_data_set(__doc__, show_rivals))
