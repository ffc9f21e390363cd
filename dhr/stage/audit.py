"""`dhr.audit`: checks a whole data set and writes its findings as JSON and as a page."""

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
from dhr.stage.cures import cure_of_masks

log = logging.getLogger("dhr.audit")


def audit(cfg: DictConfig) -> Audited:
    """Audits the configured data set and writes <outputs>/<dataset>/audit/{audit.json,audit.html}.

    Returns:
        The findings and statistics.

    Raises:
        InputError: there are no images; or, after all is written, a finding is `broken` (with `strict`: or a remark).
    """
    layout = DataLayout(Path(cfg.paths.data), cfg.dataset.folder)
    table = classes_of(layout.home, cfg.dataset.classes)
    train, validation = cfg.dataset.splits.train, cfg.dataset.splits.validation
    names = [cfg.split] if cfg.split is not None else splits_on_disk(layout, (train, validation))
    needs_train = cfg.get("wss") is not None or cfg.get("uss") is not None
    layout.image_names(train if needs_train else names[0])  # says the cure where there is nothing
    splits = []
    with _auditor(layout, table, names) as auditor:
        for name in names:
            wss: AuditedMasks | None = None
            if name == train and cfg.get("wss") is not None:  # as `dhr.stage.parts.wss_masks`, which imports torch
                wss = AuditedMasks(of_split(cfg.wss.masks, name), cure_of_masks(cfg.dataset.name, cfg.wss))
            splits.append(auditor.audit(name, needs_tags=name == train, needs_masks=name == validation, wss=wss))
    absent = [Notes(split) for split in cfg.dataset.splits.values() if split not in names and cfg.split is None]
    for notes in absent:
        command = f"python -m dhr.prepare dataset={cfg.dataset.name}"
        notes.remark("split: missing", layout.split(notes.split), "not on disk", f"make it with {command}")
    findings = [finding for split in splits for finding in split.findings]
    findings += [finding for notes in absent for finding in notes.found]
    findings += overlaps(splits, layout, train=train, validation=validation)
    findings += _features(cfg, layout, splits)
    audited = Audited(cfg.dataset.name, layout, table, splits, findings, command_line("audit"))
    folder = Path(cfg.paths.outputs) / cfg.dataset.name / "audit"
    write_json(folder / "audit.json", record_of(audited))
    write_atomically(folder / "audit.html", page_of(audited))
    for line in (*log_lines(audited), f"wrote {folder / 'audit.html'} and {folder / 'audit.json'}"):
        log.info(line)
    counts = severities(findings)
    if counts["broken"] or (cfg.strict and counts["remark"]):
        first = kinds_of(findings)[0].first
        raise InputError(
            f"{layout.home}: {counts['broken']:,} broken, {counts['remark']:,} remarks; "
            f"the first: {first.file}: {first.problem}; {first.cure}; all are in {folder / 'audit.html'}"
        )
    return audited


def splits_on_disk(layout: DataLayout, first: Sequence[str]) -> list[str]:
    """Names of the folders that hold images, those in `first` before all others; `first[0]` alone if there are none."""
    names = {path.parent.name for path in layout.home.glob("*/image") if path.is_dir()}
    return sorted(names, key=lambda name: (first.index(name) if name in first else len(first), name)) or [first[0]]


@contextmanager
def _auditor(layout: DataLayout, table: ClassTable, names: Sequence[str]) -> Iterator[SplitAuditor]:
    """An auditor, with a pool of processes if a split has more than `ALONE` images and the machine several cores."""
    workers = cores()
    if workers < 2 or max(sum(1 for _ in (layout.split(name) / "image").iterdir()) for name in names) <= ALONE:
        yield SplitAuditor(layout, table, None, 0)
        return
    with process_pool(workers) as pool:
        try:
            yield SplitAuditor(layout, table, pool, workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _features(cfg: DictConfig, layout: DataLayout, splits: Sequence[SplitAudit]) -> list[Finding]:
    """Findings in the USS features of the training split; none if no USS model is named or the split is not audited."""
    train = next((split for split in splits if split.name == cfg.dataset.splits.train), None)
    if cfg.get("uss") is None or train is None:
        return []
    # Imported here: it imports torch, which nothing else in an audit needs.
    from dhr.dataset.audit.features import FeatureAuditor
    from dhr.stage.parts import feature_store

    notes = Notes(train.name)
    FeatureAuditor(feature_store(cfg, train.name), layout.split(train.name) / "image", notes).audit(train.listing)
    return notes.found
