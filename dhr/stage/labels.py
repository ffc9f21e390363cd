"""`dhr.labels`: labels of whole images by several options and one network, scored against the truth."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from dhr.config.command import command_line
from dhr.config.label_options import OF_NETWORK, folder_of, rebalancers_of
from dhr.config.parts import build, check_signatures
from dhr.core.labels import GIVEN
from dhr.core.sample import Batch
from dhr.dataset.check import TrainingFiles, refuse_no_truth
from dhr.dataset.split import Split
from dhr.dataset.spread import spread
from dhr.disk.atomic import write_json
from dhr.disk.layout import RunFolder
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.evaluation.label_scores import Tally, changed, markdown, summary
from dhr.runtime.progress import progress
from dhr.runtime.ranks import Ranks
from dhr.stage.parts import feature_store, wss_masks
from dhr.stage.source import Source
from dhr.training.features import Complete, Features
from dhr.training.label_bench import Bench
from dhr.training.label_ways import NetworkLabels, SharedField, Way, pseudo_mask_of
from dhr.training.refresh import digest_of_state
from dhr.training.whole_images import WholeImages

IN_MEMORY = 1 << 28  # bytes of labels; what is more waits in a temporary file
log = logging.getLogger("dhr.labels")


def labels(cfg: DictConfig) -> dict[str, Any]:
    """Labels a split by all options, scores the labels, writes the scores and logs them.

    Returns:
        The content of the score file.

    Raises:
        InputError: no such run, or masks, features or truth of an image are missing or broken.
    """
    check_signatures(cfg)
    cfg.split = cfg.split or cfg.dataset.splits.train
    source = Source.of(cfg)
    split, run, device = source.split(cfg.split), source.folder, Ranks.join().device
    bench, total = _bench(cfg, source, split, device)
    kept = Kept.of(cfg, run, bench)
    tallies = {name: Tally() for name in (GIVEN, *bench.ways)}
    for image in progress(bench.run(), f"labels of {split.name}", total=len(bench.images.ids)):
        for name, (label, seconds) in image.labels.items():
            tallies[name].add(image.id, label, image.truth, seconds)
            kept.take(name, image.id, label)
    kept.write(overwrite=cfg.overwrite)
    result = {
        "command": command_line("labels"),
        "dataset": cfg.dataset.name,
        "split": split.name,
        "images": len(bench.images.ids),
        "of": total,
        "network": str(source.weights),
        "settings": _settings(cfg, bench),
        "rebalancers": {name: OmegaConf.to_container(node) for name, node in _nodes(cfg).items()},
        **summary(tallies, split.table, GIVEN),
        "ids": list(bench.images.ids),
    }
    path = run.label_scores(split.name)
    write_json(path, result)
    head = f"labels of {split.name}, {len(bench.images.ids):,} of {total:,} images, by {source.weights}"
    log.info(f"{head}\n\n{markdown(result['options'])}\n\n{changed(result['changes'], GIVEN)}\n{path}")
    return result


def _bench(cfg: DictConfig, source: Source, split: Split, device: torch.device) -> tuple[Bench, int]:
    """The bench of all options, after every file was opened once; and the number of images of the split."""
    nodes = _nodes(cfg)
    for node in nodes.values():
        check_signatures(OmegaConf.create({"rebalancing": {"rebalancer": node}}))
    masks, features = wss_masks(cfg, split.name), None
    complete: Complete = _as_it_is
    if nodes:
        uss: Features = build(cfg.features)
        features = uss.store(feature_store(cfg, split.name))
        complete = uss.complete(lambda: build(cfg.uss.extractor), stride=cfg.uss.stride)
    chosen = split
    if cfg.limit is not None:  # spread evenly over the images that have tags; all of these where they are fewer
        tagged = np.array([index for index in range(len(split)) if bool(split.tags(split.id(index)).any())], np.int64)
        chosen = replace(split, ids=split.ids[tagged[spread(len(tagged), cfg.limit)]])
    ids = [chosen.id(int(index)) for index in TrainingFiles(chosen, masks, features).tagged()]
    images = WholeImages(split, ids, masks, features, cfg.uss.stride)
    refuse_no_truth(split, images.ids)
    images.look_at_truth()
    network = source.network(split.table).to(device).eval()
    crf = build(cfg.crf)
    shared, first_tag, (plain, refined) = SharedField(crf), split.table.first_tag, OF_NETWORK
    ways: dict[str, Way] = {
        plain: NetworkLabels(network, first_tag, None),
        refined: NetworkLabels(network, first_tag, shared),
    }
    for name, node in nodes.items():
        ways[name] = pseudo_mask_of(build(node, first_tag=first_tag, crf=shared))
    ways = {name: ways[name] for name in cfg.options if name != GIVEN}
    return Bench(images, network, complete, ways, device, threads=max(crf.workers, 1)), len(split)


def _nodes(cfg: DictConfig) -> dict[str, DictConfig]:
    plain: Any = OmegaConf.to_container(cfg)
    return rebalancers_of(plain)


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _settings(cfg: DictConfig, bench: Bench) -> dict[str, Any]:
    """The settings that the labels of all options share."""
    plain: Any = OmegaConf.to_container(cfg)
    return {
        "network": digest_of_state(bench.network),
        "classes": list(bench.images.split.table.names),
        "wss": plain["wss"]["name"],
        "uss": {key: plain["uss"][key] for key in ("name", "stride")},
        "features": plain["features"],
        "crf": {key: value for key, value in plain["crf"].items() if key != "workers"},
    }


@dataclass(frozen=True)
class Kept:
    """Encoded labels of the options to keep, held back until all are made: folders are filled one after the other.

    Attributes:
        outputs: a folder for each option that is kept.
        palette: colours of the classes.
        ids: of the images.
    """

    outputs: Mapping[str, Output]
    palette: Sequence[Sequence[int]]
    ids: Sequence[str]
    _places: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict, init=False, repr=False)
    _held: IO[bytes] = field(default_factory=partial(SpooledTemporaryFile, IN_MEMORY), init=False, repr=False)

    @classmethod
    def of(cls, cfg: DictConfig, run: RunFolder, bench: Bench) -> "Kept":
        """One output folder for each option in `cfg.keep`.

        Raises:
            InputError: a folder holds labels that were made with other settings.
        """
        split, masks, features, kept = bench.images.split, bench.images.wss_masks, bench.images.features, cfg.keep
        names = [] if kept is False else [GIVEN, *bench.ways] if kept is True else list(kept)
        nodes = {name: OmegaConf.to_container(node) for name, node in _nodes(cfg).items()}

        def sources(image_id: str) -> list[Path]:
            stored = [] if features is None else [features.path(image_id)]
            return [
                split.layout.image(split.name, image_id),
                split.layout.tags(split.name, image_id),
                masks.path(image_id),
                *stored,
            ]

        outputs = {
            name: Output(
                folder=run.label_scores(split.name).with_suffix("") / folder_of(name),
                settings={**_settings(cfg, bench), "option": nodes.get(name, name)},
                sources=sources,
                what="labels",
            )
            for name in names
        }
        for output in outputs.values():
            output.refuse_mixture(bench.images.ids, overwrite=cfg.overwrite)
        return cls(outputs, split.table.palette, bench.images.ids)

    def take(self, name: str, image_id: str, label: np.ndarray) -> None:
        """Encodes the label (H,W) of an image by option `name`; nothing happens if this option is not kept."""
        if name in self.outputs:
            data = encode_mask(label, self.palette)
            self._places[name, image_id] = self._held.tell(), len(data)
            self._held.write(data)

    def write(self, *, overwrite: bool) -> None:
        """Fills the folders."""
        alone = Ranks(0, 1, torch.device("cpu"))
        for name, output in self.outputs.items():

            def make(todo: Sequence[str], keep: Keep, name: str = name) -> Iterator[None]:
                for image_id in todo:
                    start, length = self._places[name, image_id]
                    self._held.seek(start)
                    keep(image_id, self._held.read(length))
                    yield

            output.fill(self.ids, make, alone, title=f"write {output.folder.name}", overwrite=overwrite)
