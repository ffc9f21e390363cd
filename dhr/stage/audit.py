"""`dhr.audit`: looks at a whole data set, says what is wrong, writes it as JSON and as a page."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.command import command_line
from dhr.core.errors import InputError
from dhr.core.words import of_split
from dhr.dataset.audit.finding import Finding, Notes, kinds_of, severities
from dhr.dataset.audit.image import AuditedMasks
from dhr.dataset.audit.overlap import overlaps
from dhr.dataset.audit.split import ALONE, SplitAudit, SplitAuditor
from dhr.dataset.classes import ClassTable, classes_of
from dhr.disk.atomic import write_atomically, write_json
from dhr.disk.layout import DataLayout
from dhr.page.audit import page_of
from dhr.page.audit_record import Audited, log_lines, record_of
from dhr.runtime.pools import cores, process_pool

log = logging.getLogger("dhr.audit")


def audit(cfg: DictConfig) -> Audited:
    """Audits the configured data set and writes <outputs>/<dataset>/audit/{audit.json,audit.html}.

    Returns:
        What was found.

    Raises:
        InputError: there is nothing to look at; or, after all is written, something is broken (with `strict`: or
            there is a remark).
    """
    layout = DataLayout(Path(cfg.paths.data), cfg.dataset.folder)
    table = classes_of(layout.home, cfg.dataset.classes)
    first = (cfg.dataset.splits.train, cfg.dataset.splits.validation)
    names = [cfg.split] if cfg.split is not None else splits_on_disk(layout, first)
    given = cfg.get("wss") is not None or cfg.get("uss") is not None
    layout.image_names(cfg.dataset.splits.train if given else names[0])  # says the cure where there is nothing
    with _auditor(layout, table, names) as auditor:
        splits = [_audit_split(auditor, cfg, name) for name in names]
    findings = [finding for each in splits for finding in each.findings] + _absent(cfg, layout, names)
    findings += overlaps(splits, layout, train=cfg.dataset.splits.train, validation=cfg.dataset.splits.validation)
    findings += _features(cfg, layout, splits)
    audited = Audited(cfg.dataset.name, layout, table, splits, findings, command_line("audit"))
    folder = Path(cfg.paths.outputs) / cfg.dataset.name / "audit"
    write_json(folder / "audit.json", record_of(audited))
    write_atomically(folder / "audit.html", page_of(audited))
    for line in (*log_lines(audited), f"wrote {folder / 'audit.html'} and {folder / 'audit.json'}"):
        log.info(line)
    _judge(findings, layout, folder, strict=cfg.strict)
    return audited


def splits_on_disk(layout: DataLayout, first: Sequence[str]) -> list[str]:
    """Names of the folders that hold images, those in `first` before all others; where there is none, its first."""
    found = {path.parent.name for path in layout.home.glob("*/image") if path.is_dir()}
    return sorted(found, key=lambda name: (first.index(name) if name in first else len(first), name)) or [first[0]]


@contextmanager
def _auditor(layout: DataLayout, table: ClassTable, names: Sequence[str]) -> Iterator[SplitAuditor]:
    """An auditor with a pool of processes where there is enough for them to do."""
    workers = cores()
    if workers < 2 or max(map(_entries, (layout.split(name) / "image" for name in names))) <= ALONE:
        yield SplitAuditor(layout, table, None, 0)
        return
    with process_pool(workers) as pool:
        try:
            yield SplitAuditor(layout, table, pool, workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _entries(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _audit_split(auditor: SplitAuditor, cfg: DictConfig, name: str) -> SplitAudit:
    splits = cfg.dataset.splits
    is_train = name == splits.train
    wss = _wss(cfg, name) if is_train and cfg.get("wss") is not None else None
    return auditor.audit(name, needs_tags=is_train, needs_masks=name == splits.validation, wss=wss)


def _wss(cfg: DictConfig, split: str) -> AuditedMasks:
    """As `dhr.stage.parts.wss_masks`, which brings torch."""
    cure = f"run python -m dhr.train_wss dataset={cfg.dataset.name} wss={cfg.wss.name}"
    if cfg.wss.recipe is None:
        cure = "put the masks of this method there, or set wss.masks=<folder>"
    return AuditedMasks(of_split(cfg.wss.masks, split), cure)


def _features(cfg: DictConfig, layout: DataLayout, splits: Sequence[SplitAudit]) -> list[Finding]:
    """What is wrong with the USS features of the training split, if they are named and it is looked at."""
    train = next((each for each in splits if each.name == cfg.dataset.splits.train), None)
    if cfg.get("uss") is None or train is None:
        return []
    # Brings torch, which nothing else in an audit needs.
    from dhr.dataset.audit.features import FeatureAuditor
    from dhr.stage.parts import feature_store

    notes = Notes(train.name)
    FeatureAuditor(feature_store(cfg, train.name), layout.split(train.name) / "image", notes).audit(train.listing)
    return notes.found


def _absent(cfg: DictConfig, layout: DataLayout, names: Sequence[str]) -> list[Finding]:
    """The splits to train and to validate on that are not on disk, where all splits were asked for."""
    notes = [Notes(split) for split in cfg.dataset.splits.values() if split not in names and cfg.split is None]
    for each in notes:
        command = f"python -m dhr.prepare dataset={cfg.dataset.name}"
        each.remark("split: missing", layout.split(each.split), "not on disk", f"make it with {command}")
    return [finding for each in notes for finding in each.found]


def _judge(findings: Sequence[Finding], layout: DataLayout, folder: Path, *, strict: bool) -> None:
    counts = severities(findings)
    if not counts["broken"] and not (strict and counts["remark"]):
        return
    first = kinds_of(findings)[0].first
    raise InputError(
        f"{layout.home}: {counts['broken']:,} broken, {counts['remark']:,} remarks; "
        f"the first: {first.file}: {first.problem}; {first.cure}; all are in {folder / 'audit.html'}"
    )
