"""`dhr.train_uss`: trains the head of a USS method and compares its clusters with those of the untrained head."""

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from safetensors.torch import save

from dhr.config.command import command_line
from dhr.config.parts import build, check_signatures, without_saw
from dhr.dataset.check import check_pictures, scored_ids
from dhr.dataset.split import PictureDataset, Split
from dhr.disk.atomic import write_atomically, write_json
from dhr.disk.layout import RunFolder, probes_path
from dhr.disk.lock import only_writer
from dhr.runtime.ranks import Ranks
from dhr.stage.parts import open_split, open_validation, trainer_of
from dhr.stage.run_folder import recorded
from dhr.stage.uss_folder import close_folder, folder_of, open_folder, refuse_other
from dhr.training.fitting import is_first_process
from dhr.uss.cause.recipe import File
from dhr.uss.training.cluster_scores import DEFINITION, ClusterScores, as_json, score_clusters
from dhr.uss.training.crops import Crops
from dhr.uss.training.module import FrozenModel
from dhr.uss.training.probes import Classes, learn_probes
from dhr.uss.training.settings import ProbeSettings
from dhr.uss.training.stages import StageRunner

log = logging.getLogger("dhr.train_uss")


class Recipe(Protocol):
    """How a head is trained and probed."""

    crops: Crops
    probe: ProbeSettings
    batch_size: int
    window: int

    def train(self, runner: StageRunner) -> tuple[File, File]:
        """Content of the weight files of the trained head, and of the same head before its training."""
        ...


def train_uss(cfg: DictConfig) -> Path:
    """Trains the head of a USS method without a label, and compares it with the untrained head.

    Returns:
        The file of the weights.

    Raises:
        InputError: weights or a training exist that must not be replaced, or the data is missing or broken.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # after its import, which sets it to INFO
    check_signatures(cfg)
    run, weights = folder_of(cfg), Path(cfg.uss.weights)
    with only_writer(run.root, wanted=is_first_process()):
        refuse_other(run, weights, cfg)
        if run.is_finished and cfg.resume:
            log.info(f"{run.root}: finished already")
            return weights
        job = _Job.of(cfg, run)
        open_folder(run, cfg)
        with recorded(run):
            results = job.run(weights)
        if job.runner.ranks.first:
            job.conclude(results)
    return weights


@dataclass(frozen=True)
class _Job:
    """One training, whose configuration and data are checked."""

    cfg: DictConfig
    folder: RunFolder
    recipe: Recipe
    runner: StageRunner
    validation: Split
    ids: tuple[str, ...]
    classes: Classes
    clusters: int

    @classmethod
    def of(cls, cfg: DictConfig, run: RunFolder) -> "_Job":
        recipe: Recipe = build(cfg.uss.recipe)
        validation = open_validation(cfg)
        ids = scored_ids(validation)  # empty if the split has no human masks
        classes = Classes.of(validation.table, recipe.probe, cfg.uss.name)
        clusters = classes.clusters(recipe.probe, cfg.uss.name)
        split = open_split(cfg, cfg.dataset.splits.train)
        check_pictures(PictureDataset(split, split.all_ids(), with_truth=False))
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        runner = StageRunner(
            folder=run.root,
            split=split,
            tokens=FrozenModel(build(cfg.uss.tokens)),
            make_trainer=trainer_of(cfg.trainer),
            batch_size=recipe.batch_size,
            workers=cfg.dataset.workers,
            seed=cfg.seed,
            ranks=Ranks(0, 1, device),  # until a trainer knows the other processes
            described=without_saw(cfg.uss.tokens),
            place=cfg.uss.name,
        )
        return cls(cfg, run, recipe, runner, validation, ids, classes, clusters)

    def run(self, weights: Path) -> dict[str, ClusterScores | None]:
        """Trains a head, and probes it and the untrained head; scores are None where there are no human masks."""
        pl.seed_everything(self.cfg.seed, workers=True, verbose=False)
        trained, untrained = self.recipe.train(self.runner)
        results = {"trained": self.score_head(trained, weights, "trained")}
        if self.ids:
            results["untrained"] = self.score_head(untrained, self.folder.root / "untrained.pt", "untrained")
        return results

    def score_head(self, content: File, path: Path, name: str) -> ClusterScores | None:
        """Writes a head and the cluster probes of its features; scores the clusters where there are human masks.

        The head is read back as extract_uss reads it, so that the stored head is scored. Every process writes the same
        files, so that none has to wait for another one before it reads them.
        """
        buffer = io.BytesIO()
        torch.save(dict(content), buffer)
        write_atomically(path, buffer.getvalue())
        model = FrozenModel(build(self.cfg.uss.extractor, weights=str(path)))
        probes = learn_probes(
            self.runner,
            model,
            self.runner.views(self.recipe.crops),
            self.recipe.probe,
            clusters=self.clusters,
            window=self.recipe.window,
            name=f"probe_{name}",
        )
        write_atomically(probes_path(path), save({"probes": probes}))
        if not self.ids:
            return None
        images = (self.validation, self.ids, self.classes.of_label)
        return score_clusters(model, probes, *images, crf=build(self.cfg.crf), ranks=self.runner.ranks)

    def conclude(self, results: Mapping[str, ClusterScores | None]) -> None:
        """Writes the scores, marks the folder as finished and logs the result."""
        cfg, scores = self.cfg, {name: result for name, result in results.items() if result is not None}
        about: dict[str, object] = {
            "definition": DEFINITION,
            "measured": "here",
            "dataset": cfg.dataset.name,
            "split": self.validation.name,
            "images": len(self.ids),
            "clusters": self.clusters,
            "crf": cfg.choices.crf,
            "command": command_line("train_uss"),
        }
        if scores:
            rows = {name: as_json(score, self.classes.names) for name, score in scores.items()}
            write_json(self.folder.root / "evaluation.json", {**about, **rows})
        else:
            log.info(f"{self.validation.layout.split(self.validation.name)}: no human masks, so nothing is scored")
        close_folder(self.folder, {"weights": cfg.uss.weights})
        for name, score in scores.items():
            log.info(f"{name} head: mIoU {score.miou:.1f}, accuracy {score.accuracy:.1f} ({len(self.ids)} images)")
        log.info(f"{cfg.uss.weights}; next: python -m dhr.extract_uss dataset={cfg.dataset.name} uss={cfg.uss.name}")
