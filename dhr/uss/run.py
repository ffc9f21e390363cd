"""`dhr.extract_uss`: features of every image of a split into its store."""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from torch import distributed

from dhr.artifacts import read_json
from dhr.building import feature_store, open_split
from dhr.config.parts import build
from dhr.dataset.reader import Split
from dhr.errors import InputError
from dhr.progress import progress
from dhr.ranks import Ranks
from dhr.uss.frugal import Frugal
from dhr.uss.pca import Basis, Moment, mean_cosine_change
from dhr.uss.pipeline import Features, features_of
from dhr.uss.store import FeatureStore

SAMPLE = 256  # images whose cells the directions of uss.components are fitted to, spread over the split
log = logging.getLogger("dhr.extract_uss")


def extract(cfg: DictConfig) -> Path:
    """Fills the feature store of `cfg.split` (the training split if null); images that have features are left alone.

    Returns:
        The folder of the store.

    Raises:
        InputError: the USS model of this configuration cannot be computed here, an image is unreadable, or the store
            holds features of other settings.
    """
    if cfg.uss.extractor is None:
        raise InputError(f"uss={cfg.uss.name}: has no extractor; released feature files belong into {cfg.uss.store}")
    name = cfg.get("split") or cfg.dataset.splits.train
    split, store = open_split(cfg, name), feature_store(cfg, name)
    ids = [split.id(position) for position in range(len(split))]
    ranks = Ranks.join()
    extractor = Frugal(build(cfg.uss.extractor).to(ranks.device).eval())
    settings = _settings(cfg, extractor)
    if ranks.first:
        _open_store(store, settings, ids, overwrite=cfg.overwrite)
    ranks.wait()
    if _is_released(store, ids):
        log.info(f"{store.folder}: features of all {len(ids)} images are there, made elsewhere; they are left alone")
        ranks.leave()
        return store.folder
    features = Features(extractor, tuple(cfg.uss.scales), cfg.uss.flip, ranks.device)
    if cfg.uss.components is not None:
        features = replace(features, basis=_basis(features, cfg.uss.components, split, ids, store, ranks))
    if ranks.first and not store.record.exists():
        store.write_record(settings)  # after the basis and before the first file: a kill leaves no mixture
    _fill(features, split, ids, store, ranks)
    ranks.leave()
    return store.folder


def _fill(features: Features, split: Split, ids: Sequence[str], store: FeatureStore, ranks: Ranks) -> None:
    mine = ranks.share(ids)
    todo = [id for id in mine if not _is_there(store, id)]
    start = time.monotonic()
    made = features_of(features, todo, split.pixels, store.write)
    for _ in progress(made, f"features {split.name}", total=len(todo), visible=ranks.first):
        pass
    rate = len(todo) / max(time.monotonic() - start, 1e-9)
    ranks.wait()
    log.info(f"{store.folder}: {len(todo)} made ({rate:.2f} images/s), {len(mine) - len(todo)} were there")


def _settings(cfg: DictConfig, extractor: Frugal) -> dict[str, object]:
    """The features of one folder come from one model and are kept in one way."""
    uss: Any = OmegaConf.to_container(cfg.uss, resolve=True)
    components = uss["components"]
    if components is not None and not 1 <= components <= extractor.dim:
        raise InputError(f"uss.components: {components}: allowed are 1 to {extractor.dim}, the channels of the model")
    return {
        "extractor": _digested(uss["extractor"]),
        "scales": uss["scales"],
        "flip": uss["flip"],
        "form": uss["form"],
        "components": components,
        "patch_size": extractor.patch_size,
        "channels": extractor.dim if components is None else components,
    }


def _digested(node: Any) -> Any:
    """The node of a part, with the digest of a weights file in place of its name."""
    if isinstance(node, Mapping):
        return {key: _digest_of(value) if key == "weights" else _digested(value) for key, value in node.items()}
    return node


def _digest_of(weights: object) -> object:
    if not isinstance(weights, str) or not Path(weights).is_file():
        return weights
    with open(weights, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _open_store(store: FeatureStore, settings: dict[str, object], ids: Sequence[str], *, overwrite: bool) -> None:
    """Refuses a mixture; discards what is to be overwritten before the settings change, so that a kill leaves none.

    Files without a record were not made here: they are taken as they are, and none are added to them.
    """
    for part in store.folder.glob(".*.part"):
        part.unlink(missing_ok=True)  # of a process that was killed: this job has not begun to write
    if overwrite:
        for id in ids:
            store.discard(id)
        store.record.unlink(missing_ok=True)
    there = sum(store.path(id).exists() for id in ids)
    if not store.record.exists():
        store.basis.unlink(missing_ok=True)  # nothing says what it belongs to
        if 0 < there < len(ids):
            raise InputError(
                f"{store.folder}: holds features of {there} of {len(ids)} images that do not say how they were made "
                f"(no {store.record.name}); overwrite=true makes all anew, uss.store=<folder> leaves them alone"
            )
        return
    _refuse_mixture(store, settings)
    if settings["components"] is not None and not store.basis.exists():
        raise InputError(f"{store.basis}: missing: {there} files depend on it; overwrite=true makes it and them anew")


def _refuse_mixture(store: FeatureStore, settings: dict[str, object]) -> None:
    known = read_json(store.record)
    if known == settings:
        return
    differing = [key for key in settings if not isinstance(known, dict) or known.get(key) != settings[key]]
    raise InputError(
        f"{store.folder}: its features were made with other settings ({', '.join(differing) or 'more'} in "
        f"{store.record}); overwrite=true makes them anew, uss.store=<folder> leaves them alone"
    )


def _is_released(store: FeatureStore, ids: Sequence[str]) -> bool:
    return not store.record.exists() and all(store.path(id).exists() for id in ids)


def _is_there(store: FeatureStore, id: str) -> bool:
    """Whether an image has whole features; a torn file is discarded, to be made anew."""
    if not store.path(id).exists():
        return False
    try:
        store.look(id)
    except InputError as error:
        if store.is_double(id):
            raise
        log.warning(f"{error}. It is made anew")
        store.discard(id)
        return False
    return True


def _basis(
    features: Features, components: int, split: Split, ids: Sequence[str], store: FeatureStore, ranks: Ranks
) -> Basis:
    """The directions of the store, or those that a sample of the split's images asks for, which are kept there."""
    if store.basis.exists():
        return Basis.load(store.basis)
    moment, spread = Moment(features.extractor.dim), np.linspace(0, len(ids) - 1, min(SAMPLE, len(ids))).round()
    sample = ranks.share([ids[int(position)] for position in spread])
    made = features_of(features, sample, split.pixels, lambda _, values: moment.add(values), writers=1)
    for _ in progress(made, f"components {split.name}", total=len(sample), visible=ranks.first):
        pass
    if ranks.count > 1:
        distributed.all_reduce(moment.total)
    basis = moment.basis(components)
    if ranks.first:
        basis.save(store.basis)
        kept, change = float(basis.energy.sum()), mean_cosine_change(features(split.pixels(ids[0])).cpu(), basis)
        log.info(
            f"{store.basis}: {components} of {features.extractor.dim} directions carry {100 * kept:.2f} % of the "
            f"energy of {len(spread)} images; the cosine of two cells of {ids[0]} changes by {change:.4f} on average"
        )
    return basis
