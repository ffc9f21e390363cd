"""Where an exported network comes from, as entries of its description and as a model card for the hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dhr import __version__
from dhr.config.command import command_line
from dhr.config.exported import Stated
from dhr.config.provenance import in_words
from dhr.core.errors import InputError
from dhr.disk.atomic import read_object
from dhr.disk.mark import sha256_of
from dhr.disk.run_record import RunRecord
from dhr.stage.source import Source

OF_RUN = (
    "command",
    "dataset",
    "wss",
    "uss",
    "rebalancing",
    "label_maker",
    "refresh",
    "saw",
    "licences",
    "start",
    "seed",
    "tau",
)
OF_SCORES = ("split", "images", "miou", "mfpr", "mfnr", "measured", "command")


def provenance_of(source: Source, stated: Stated | None) -> dict[str, Any]:
    """How the weights came about: of a run what run.json and its scores say, of an export what it says itself."""
    made = {"dhr": __version__, "weights": sha256_of(source.weights), "exported_by": command_line("export")}
    if not source.is_run:
        told: Mapping[str, Any] = stated.entries.get("provenance", {}) if stated is not None else {}
        return {**told, **made}
    record = RunRecord.read(source.folder.record).entries
    scores = [_scores(path) for path in sorted((source.folder.root / "scores").glob("*.json"))]
    return {**{key: record[key] for key in OF_RUN if record.get(key) is not None}, "scores": scores, **made}


def card(entries: Mapping[str, Any], title: str) -> str:
    """The README.md of a folder on the hub, by the description of the export."""
    told: Mapping[str, Any] = entries["provenance"]
    names = entries["classes"]["names"]
    lines = [
        "---",
        "library_name: dhr",
        "pipeline_tag: image-segmentation",
        "tags: [semantic-segmentation, weakly-supervised]",
        "---",
        "",
        f"# {title}",
        "",
        f"A semantic segmentation network for the {len(names)} classes {', '.join(names)}.",
        "",
        "    import dhr",
        '    model = dhr.load("hf://<owner>/<name>")  # or this folder',
        '    model.predict("photo.jpg").save("mask.png")',
        "",
        "## Where it comes from",
        "",
        *(f"- {key}: {_said(told[key])}" for key in OF_RUN if key in told and key not in ("saw", "licences")),
        *(f"- weights of {part} saw: {in_words(letters)}" for part, letters in told.get("saw", {}).items()),
        *(
            f"- licence of the weights that {part} started from: {each}"
            for part, each in told.get("licences", {}).items()
        ),
        f"- exported by: {_said(told['exported_by'])} (dhr {told['dhr']}), from weights {told['weights']}",
        "",
        "Data sets and the weights that a training starts from keep their own terms.",
        "",
        "## Scores",
        "",
    ]
    rows = [f"| {' | '.join(_said(score.get(key)) for key in OF_SCORES)} |" for score in told.get("scores", [])]
    if not rows:
        return "\n".join([*lines, "None were measured before the export.", ""])
    head = [f"| {' | '.join(OF_SCORES)} |", f"|{' --- |' * len(OF_SCORES)}"]
    return "\n".join([*lines, *head, *rows, "", "mIoU in percent; mFPR and mFNR as shares.", ""])


def _scores(path: Path) -> dict[str, Any]:
    """The entries of a score file that a card shows; none of a file that cannot be read."""
    try:
        return {key: value for key, value in read_object(path).items() if key in OF_SCORES}
    except InputError as error:
        raise InputError(f"{error}; score the run again before it is exported") from None


def _said(value: object) -> str:
    """A value in a line of Markdown: nothing in it is a mark-up of its own."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return f"`{text}`" if "`" not in text and "\n" not in text and "|" not in text else repr(text).replace("|", "/")
