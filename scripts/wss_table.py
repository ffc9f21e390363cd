"""Table of WSS methods: the masks of the training split that lie on disk, scored against the human masks.

Usage: python scripts/wss_table.py dataset=toy [further settings of the data set, paths.data=<folder>]
Every folder <data>/WSS/<folder>/<METHOD>/<training split> that has a mask of every image is scored as by dhr.evaluate.
The table is shown and written to <outputs>/<dataset>/wss_table.txt; wss_table.png beside it shows a few of the masks.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image, ImageDraw

from dhr.config.command import WRONG_CONFIG, WRONG_INPUT
from dhr.config.compose import compose
from dhr.config.overrides import explain
from dhr.config.provenance import UNKNOWN, in_words, letters_beside, provenance
from dhr.config.tree import options
from dhr.config.walk import leaves
from dhr.core.words import of_split
from dhr.dataset.split import Split
from dhr.disk.atomic import read_object, write_atomically
from dhr.disk.ledger import Ledger
from dhr.disk.mask import read_mask
from dhr.evaluation.gallery import SIDE, overlay, scaled
from dhr.evaluation.tables import Column, cells_of, count, definitions, percent, ratio, words
from dhr.stage.evaluate import evaluate
from dhr.stage.parts import open_split

COLUMNS = (
    Column("saw", "saw", words),
    Column("mIoU %", "miou", percent, good=1),
    Column("mFPR", "mfpr", ratio, good=-1),
    Column("mFNR", "mfnr", ratio, good=-1),
    Column("small classes mFNR", "small_mfnr", ratio, good=-1),
    Column("small objects mIoU %", "small.miou", percent, good=1),
    Column("s/image", "seconds", ratio),
    Column("images", "images", count),
)
SHOWN = 4  # images in the picture
GAP, HEAD, LETTERS = 8, 36, 24  # pixels between pictures, above a column, and of its name


@dataclass(frozen=True)
class Method:
    """Masks of the training split that a WSS method made: name of its folder, what it saw, as letters."""

    name: str
    folder: Path
    saw: str


def of_data_set(usage: str | None, show: Callable[[DictConfig, Sequence[str]], int]) -> int:
    """Exit code of `show`, which gets the composed data set and what was typed; 2 where the words are wrong."""
    typed = sys.argv[1:]
    if not any(word.startswith("dataset=") for word in typed):
        print(usage, file=sys.stderr)
        return WRONG_INPUT
    try:
        return show(compose("train", [*typed, "wss=truth", "rebalancing=none"]), typed)
    except WRONG_CONFIG as error:
        print(explain(error), file=sys.stderr)
        return WRONG_INPUT


def show_methods(cfg: DictConfig, typed: Sequence[str]) -> int:
    """Prints the table; 2 where there is nothing to show."""
    split = open_split(cfg, cfg.dataset.splits.train)
    methods = complete(methods_of(cfg, typed), split)
    if not methods:
        print(f"{cfg.paths.data}/WSS/{cfg.dataset.folder}: no masks of split {split.name}", file=sys.stderr)
        return WRONG_INPUT
    rows = [(method.name, scored(method, split.name, typed)) for method in methods]
    rows.sort(key=lambda row: -row[1]["miou"])
    text, target = table(rows), Path(cfg.paths.outputs) / cfg.dataset.name / "wss_table.txt"
    write_atomically(target, f"{text}\n".encode())
    Image.fromarray(picture(split, methods)).save(target.with_suffix(".png"))
    print(f"{text}\n{target}\n{target.with_suffix('.png')}")
    return 0


def methods_of(cfg: DictConfig, typed: Sequence[str]) -> list[Method]:
    """Every folder of masks of the training split: those of wss options, whose letters are known, and all others."""
    split = cfg.dataset.splits.train
    known = {}
    for option in options("wss"):
        chosen = compose("train", [*typed, f"wss={option}", "rebalancing=none"])
        known[of_split(chosen.wss.masks, split).absolute()] = chosen
    folders = (Path(cfg.paths.data) / "WSS" / cfg.dataset.folder).glob(f"*/{split}")
    return [
        Method(folder.parent.name, folder, letters(folder, known.get(folder.absolute())))
        for folder in sorted(folders)
        if folder.is_dir()
    ]


def letters(folder: Path, option: DictConfig | None) -> str:
    """What the method saw, as is written beside its masks, or as the option says.

    UNKNOWN for others of no option, and where the option now names other weights than then.
    """
    told = letters_beside(folder)
    if told is not None or option is None:
        return told or UNKNOWN
    record = Ledger(folder).settings
    values: Any = OmegaConf.to_container(option, resolve=True)
    if option.wss.recipe is not None:
        made = read_object(record) if record.is_file() else {}
        if weights(made.get("recipe")) != weights(values["wss"]["recipe"]):
            return UNKNOWN
    return provenance(option)["saw"]["wss"]


def weights(recipe: Any) -> dict[str, Any]:
    """Which weights the networks of a recipe start from, by their place in it; none without a recipe."""
    found = leaves(recipe) if isinstance(recipe, Mapping) else ()
    return {place: value for place, value in found if place.rpartition(".")[2] in ("weights", "name")}


def complete(methods: Sequence[Method], split: Split) -> list[Method]:
    """Those with a mask of every image; says which are left out."""
    ids, whole = set(split.all_ids()), []
    for method in methods:
        lacking = len(ids - {path.stem for path in method.folder.glob("*.png")})
        if lacking:
            print(f"{method.folder}: {lacking} of {len(ids)} masks are missing; left out", file=sys.stderr)
        else:
            whole.append(method)
    return whole


def scored(method: Method, split: str, typed: Sequence[str]) -> dict[str, Any]:
    """Scores of a folder as `dhr.evaluate` writes them, what the method saw, and seconds of one process per image."""
    made = Ledger(method.folder).read()
    scores = evaluate(compose("evaluate", [*typed, f"masks={method.folder}", f"split={split}"]))
    return {**scores, "saw": method.saw, "seconds": None if made is None else made.seconds}


def table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """One line a method; a star marks the best value of a column."""
    cells = [[cell.text + "*" * cell.best for cell in line] for line in cells_of(rows, COLUMNS)]
    lines = [["method", *(column.head for column in COLUMNS)]]
    lines += [[name, *texts] for (name, _), texts in zip(rows, cells, strict=True)]
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    shown = ["  ".join(map(str.ljust, texts, widths)).rstrip() for texts in lines]
    seen = sorted({str(scores["saw"]) for _, scores in rows})
    head = f"{rows[0][1]['dataset']}, {rows[0][1]['split']}: masks against human masks"
    notes = [f"saw {saw}: {in_words(saw)}" for saw in seen if saw != in_words(saw)]
    notes += ["s/image: seconds of one process, of the last step alone"]
    return "\n".join([head, *shown, *notes, *(f"definition: {text}" for text in definitions(row for _, row in rows))])


def picture(split: Split, methods: Sequence[Method]) -> np.ndarray:
    """(H,W,3) uint8: a row an image; columns are the image, the truth and the mask of each method."""
    ids = split.all_ids()[:: max(len(split) // SHOWN, 1)][:SHOWN]
    folders = [("truth", split.truths.folder), *((method.name, method.folder) for method in methods)]
    rows = []
    for image_id in ids:
        image = scaled(split.pixels(image_id).permute(1, 2, 0).numpy())
        masks = [scaled(read_mask(folder / f"{image_id}.png")) for _, folder in folders]
        rows.append([image, *(overlay(image, mask, split.table.palette) for mask in masks)])
    tops = np.cumsum([HEAD, *(len(row[0]) + GAP for row in rows)]).tolist()
    canvas = Image.new("RGB", ((SIDE + GAP) * (len(folders) + 1), tops[-1]), "white")
    draw = ImageDraw.Draw(canvas)
    for column, name in enumerate(["image", *(name for name, _ in folders)]):
        draw.text((column * (SIDE + GAP), 0), name, fill="black", font_size=LETTERS)
    for top, row in zip(tops[:-1], rows, strict=True):
        for column, each in enumerate(row):
            canvas.paste(Image.fromarray(each), (column * (SIDE + GAP), top))
    return np.asarray(canvas)


if __name__ == "__main__":
    sys.exit(of_data_set(__doc__, show_methods))
