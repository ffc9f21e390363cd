"""Table of an ablation: mean and spread over seeds of every option, from the score files of its runs.

Usage: python scripts/ablation_table.py outputs/toy/runs ablation [validation]
Runs are folders named <prefix>-<option>-seed<number> that hold scores/<split>.json; their training's seconds are those
of run.json.
"""

import json
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from dhr.config.provenance import UNKNOWN, in_words, joined

COLUMNS = (
    ("miou", "mIoU %", 1),
    ("mfpr", "mFPR", 3),
    ("mfnr", "mFNR", 3),
    ("small_mfnr", "small classes mFNR", 3),
    ("small.miou", "small objects mIoU %", 1),
    ("small.mfnr", "small objects mFNR", 3),
    ("seconds", "seconds", 0),
)
PLAIN, UPPER, METHOD = "none", "truth", "dhr"


def collect(folder: Path, prefix: str, split: str) -> dict[str, list[dict[str, Any]]]:
    """Scores of every option, one entry per seed, options by falling mean mIoU."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in sorted(folder.glob(f"{prefix}-*-seed*")):
        match = re.fullmatch(rf"{re.escape(prefix)}-(.+)-seed\d+", run.name)
        scores = run / "scores" / f"{split}.json"
        if match and scores.is_file():
            record = json.loads((run / "run.json").read_text())
            added = {"seconds": record["seconds"], "saw": record.get("saw", {"weights": UNKNOWN})}
            found[match[1]].append({**json.loads(scores.read_text()), **added})
    return dict(sorted(found.items(), key=lambda item: -_mean(item[1], "miou")))


def _values(scores: list[dict[str, Any]], key: str) -> list[float]:
    """The values of a key; small.miou is miou inside small, which older score files lack."""
    group, _, inner = key.rpartition(".")
    found = [(score.get(group, {}) if group else score).get(inner) for score in scores]
    return [value for value in found if value is not None]


def _mean(scores: list[dict[str, Any]], key: str) -> float:
    return statistics.fmean(_values(scores, key))


def _cell(scores: list[dict[str, Any]], key: str, digits: int) -> str:
    values = _values(scores, key)
    if len(values) < len(scores):
        return "-"
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} +- {spread:.{digits}f}"


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """One line per option: number of seeds, then mean and standard deviation of every score."""
    head = ["option", "seeds", *(title for _, title, _ in COLUMNS)]
    rows = [
        [option, str(len(scores)), *(_cell(scores, key, digits) for key, _, digits in COLUMNS)]
        for option, scores in found.items()
    ]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]
    )


def gap(found: dict[str, list[dict[str, Any]]]) -> str:
    """How much of the way from plain training to training on the truth the method goes; empty without all three."""
    if not {PLAIN, UPPER, METHOD} <= found.keys():
        return ""
    plain, upper, method = (_mean(found[option], "miou") for option in (PLAIN, UPPER, METHOD))
    share = (method - plain) / (upper - plain)
    return f"dhr against none: {method - plain:+.1f} mIoU; {share:.0%} of the gap to the truth"


def saw(found: dict[str, list[dict[str, Any]]]) -> str:
    """What the weights behind the runs had seen, all runs together."""
    parts = [scores["saw"] for each in found.values() for scores in each]
    names = dict.fromkeys(name for part in parts for name in part)
    letters = {name: joined(part[name] for part in parts if name in part) for name in names}
    shown = ", ".join(f"{name} {text}" for name, text in letters.items())
    return f"weights saw: {in_words(joined(letters.values()))} ({shown})"


def main() -> int:
    """Prints the table; 2 where there is nothing to show."""
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    split = sys.argv[3] if len(sys.argv) == 4 else "validation"
    found = collect(Path(sys.argv[1]), sys.argv[2], split)
    if not found:
        print(
            f"{sys.argv[1]}: no run named {sys.argv[2]}-<option>-seed<number> with scores of {split}", file=sys.stderr
        )
        return 2
    print(table(found))
    print(saw(found))
    print(gap(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
