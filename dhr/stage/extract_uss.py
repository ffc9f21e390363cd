"""`dhr.extract_uss`: features of every image of a split into its store."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dhr.config.parts import build, check_signatures, without_saw
from dhr.core.errors import InputError
from dhr.disk.atomic import read_json
from dhr.disk.feature_file import FORMS, encode
from dhr.disk.mark import sha256_of
from dhr.disk.output import Keep, Output
from dhr.runtime.ranks import Ranks
from dhr.stage.parts import feature_store, open_split
from dhr.uss.extraction import ExtractionModel, extract_all
from dhr.uss.pca import Basis
from dhr.uss.pca_fit import PcaSample, fitted_basis
from dhr.uss.tiling import MemoryFallback

log = logging.getLogger("dhr.extract_uss")


def extract_uss(cfg: DictConfig) -> Path:
    """Fills the feature store of `cfg.split` (the training split if null); images that have features are left alone.

    Returns:
        The folder of the store.

    Raises:
        InputError: the USS model of this configuration cannot be computed here, an image is unreadable, or the store
            holds features of other settings.
    """
    check_signatures(cfg)
    if cfg.uss.extractor is None:
        raise InputError(f"uss={cfg.uss.name}: has no extractor; released feature files belong into {cfg.uss.store}")
    name = cfg.get("split") or cfg.dataset.splits.train
    split, store = open_split(cfg, name), feature_store(cfg, name)
    ids = split.all_ids()
    ranks = Ranks.join()
    extractor = MemoryFallback(build(cfg.uss.extractor).to(ranks.device).eval())
    output = Output(
        folder=store.folder,
        settings=_settings(cfg, extractor),
        sources=lambda image_id: [split.layout.image(split.name, image_id)],
        what="features",
        suffix=f".{store.form}",
        others=tuple(f".{form}" for form in FORMS if form != store.form),
        elsewhere="uss.store=<folder>",
    )
    is_released = not store.record.exists() and all(store.path(image_id).exists() for image_id in ids)
    if is_released and not cfg.overwrite:
        log.info(f"{store.folder}: features of all {len(ids)} images are there, made elsewhere; they are left alone")
        ranks.leave()
        return store.folder
    features = ExtractionModel(extractor, tuple(cfg.uss.scales), cfg.uss.flip, ranks.device)
    if cfg.uss.components is not None or cfg.uss.centred:
        record = read_json(store.record) if store.record.exists() else None
        digest = record.get("basis") if isinstance(record, dict) else None
        _with_basis(output, digest).refuse_mixture(ids, overwrite=cfg.overwrite)
        count = 0 if cfg.overwrite else output.there(ids)
        if count and not store.basis.exists():
            raise InputError(
                f"{store.basis}: missing: {count} files depend on it; overwrite=true makes it and them anew"
            )
        basis = Basis.load(store.basis) if count else None
        sample = PcaSample.of(ids, split, features, ranks)
        basis = basis or fitted_basis(sample, cfg.uss.components, store.basis, centred=cfg.uss.centred)
        features, output = replace(features, basis=basis), _with_basis(output, basis.digest)

    def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
        return extract_all(
            features, todo, split.pixels, lambda image_id, values: keep(image_id, encode(values, store.form))
        )

    output.fill(ids, make, ranks, title=f"features {split.name}", overwrite=cfg.overwrite)
    ranks.leave()
    return store.folder


def _with_basis(output: Output, digest: object) -> Output:
    return replace(output, settings={**output.settings, "basis": digest})


def _settings(cfg: DictConfig, extractor: MemoryFallback) -> dict[str, object]:
    """What all features of one folder have in common: their model, and how they are stored."""
    uss = without_saw(cfg.uss)
    components = uss["components"]
    if components is not None and not 1 <= components <= extractor.dim:
        raise InputError(f"uss.components: {components}: allowed are 1 to {extractor.dim}, the channels of the model")
    return {
        "extractor": _digested(uss["extractor"]),
        "scales": uss["scales"],
        "flip": uss["flip"],
        "form": uss["form"],
        "components": components,
        **({"centred": True} if uss["centred"] else {}),  # records of older stores have no such key
        "patch_size": extractor.patch_size,
        "channels": extractor.dim if components is None else components,
    }


def _digested(node: Any) -> Any:
    """The node of a part, with the digest of a weights file in place of its name."""
    if not isinstance(node, Mapping):
        return node
    digested = {key: _digested(value) for key, value in node.items()}
    weights = node.get("weights")
    if isinstance(weights, str) and Path(weights).is_file():
        digested["weights"] = sha256_of(Path(weights))
    return digested
