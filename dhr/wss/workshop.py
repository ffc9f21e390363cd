"""What every WSS method works with: images with tags, what it starts from, and a place for what it learns."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import distributed, nn

from dhr.core.errors import InputError
from dhr.core.ranges import Precision
from dhr.crf.interface import Crf
from dhr.dataset.check import TrainingFiles
from dhr.dataset.split import MaskFolder, Split, TrainDataset
from dhr.dataset.transforms import TrainTransform
from dhr.disk.feature_store import FeatureStore
from dhr.disk.soft_maps import STRIDE, SUFFIX, encode_maps
from dhr.network.segmentation import SegmentationNetwork
from dhr.runtime.ranks import Ranks
from dhr.training.average import EmaAverage
from dhr.training.fitting import MakeTrainer, is_first_process, joined_at_start
from dhr.training.optimizer import OptimizerRecipe
from dhr.wss.recipe import Start, Step
from dhr.wss.steps import Masks, Products, Training
from dhr.wss.trained_file import TrainedFile, without


@dataclass(frozen=True)
class Source:
    """Another WSS method, whose products this one starts from.

    Attributes:
        name: of its option.
        masks: those of the split to learn from.
        recipe: builds the recipe by which it makes them; None where they came from elsewhere.
        command: makes them.
    """

    name: str
    masks: MaskFolder
    recipe: Callable[[], object] | None
    command: str


@dataclass
class Workshop:
    """The data and the settings of one call of train_wss.

    Attributes:
        learnt: images to learn from.
        wanted: images whose masks are made; the same, or those of another split.
        folder: of the wanted masks; what the method learns lies beside it.
        source: what the method starts from, None where that is nothing.
        features: those of the USS model, of the images to learn from.
        network: makes a new segmentation network, for the methods that train one; `trained=True`: one that learnt
            weights will come over.
        optimizer: of that network.
        crf: refines masks.
        settings: everything that decides what is made, by content.
        of_masks: names of settings of the recipe from which nothing is learnt, see `Recipe`.
        network_settings: everything that decides what `network` and `optimizer` make.
        crf_settings: everything that decides what the CRF does.
        transform: cuts crops from the images to learn from.
        batch_size: crops per step, of all processes together.
        workers: loader processes.
        seed: of all random numbers.
        make_trainer: makes a trainer for a training.
        overwrite: whether what is there is made anew.
        precision: of networks while they make masks; trainings have that of the trainer.
        with_maps: whether the soft maps behind the masks are kept.
        ranks: the processes at work; known after the first training, or when the masks are due.
    """

    learnt: Split
    wanted: Split
    folder: Path
    source: Source | None
    features: FeatureStore
    network: Start[SegmentationNetwork]
    optimizer: OptimizerRecipe
    crf: Crf
    settings: Mapping[str, object]
    of_masks: frozenset[str]
    network_settings: Mapping[str, object]
    crf_settings: Mapping[str, object]
    transform: TrainTransform
    batch_size: int
    workers: int
    seed: int
    make_trainer: MakeTrainer
    overwrite: bool = False
    precision: Precision = "fp32"
    with_maps: bool = False
    ranks: Ranks | None = field(default=None, init=False)

    @property
    def device(self) -> torch.device:
        """Where networks are at work."""
        if self.ranks is not None:
            return self.ranks.device
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def tagged(self) -> np.ndarray:
        """Positions of the images that have tags, after all of them were opened once."""
        return TrainingFiles(self.learnt, None, None).tagged()

    def crops(self, masks: MaskFolder | None) -> TrainDataset:
        """Crops of the images that have tags, with those of their masks."""
        return TrainDataset(
            split=self.learnt,
            indices=self.tagged,
            wss_masks=masks,
            features=None,
            grid=(1, 1),
            transform=self.transform,
            seed=self.seed,
        )

    @property
    def _of_training(self) -> Mapping[str, object]:
        settings: Mapping[str, object] = without(self.settings, self.of_masks)
        return settings

    def file(self, name: str, **settings: object) -> TrainedFile:
        """Where the network of the method is kept.

        Args:
            name: of the network.
            **settings: what decides what it learns, beside that of the workshop.
        """
        whole = {**self._of_training, **settings}
        return TrainedFile(self.folder.parent, name, whole, self.overwrite, spare=self.of_masks)

    def training(
        self, file: TrainedFile, module: pl.LightningModule, *, epochs: int, masks: MaskFolder | None = None,
        parts: Mapping[str, nn.Module] | None = None, average: EmaAverage | None = None,
    ) -> "Training":  # fmt: skip
        """A step that trains the network of the method.

        Args:
            file: of the network.
            module: as it starts; after the step it has learnt, is in eval mode and on the device.
            epochs: of the training.
            masks: that it learns beside the tags; made by an earlier step, or brought.
            parts: of the module that get a file of their own, by its name.
            average: of the weights of the module, which becomes this average at the end; None where none is kept.
        """
        return Training(self, file, module, epochs, masks, parts or {}, average)

    def between(self, name: str, make: Masks, **settings: object) -> "Products":
        """A step that makes masks of the images to learn from, for a later step.

        Args:
            name: of their folder.
            make: the masks of some images.
            **settings: what decides what they are, beside that of the workshop and the CRF.
        """
        folder = self.folder.parent / f".{name}" / self.learnt.name
        whole = {**self._of_training, "crf": self.crf_settings, **settings}
        return Products(self, name, self.learnt, folder, make, lambda: whole, last=False)

    def masks(self, make: Masks, network: "Training | None" = None, **settings: object) -> "Products":
        """The last step: the masks that were asked for.

        Args:
            make: the masks of some images.
            network: that makes them, if the method trains one.
            **settings: what decides what they are, beside that of the workshop, the network and the CRF.
        """

        def whole() -> Mapping[str, object]:
            return {**self._learnt(network), "crf": self.crf_settings, **settings}

        return Products(self, "masks", self.wanted, self.folder, make, whole, last=True, network=network)

    def soft_maps(self, make: Masks, network: "Training | None" = None, **settings: object) -> "tuple[Products, ...]":
        """A step that keeps what the masks are made from, before the CRF; none unless it is asked for.

        Args:
            make: of some images, each with its (T,H,W) maps in [0,1], 0 for classes that it does not show.
            network: that makes them, if the method trains one.
            **settings: what decides what they are, beside that of the workshop and the network.
        """

        def whole() -> Mapping[str, object]:
            return {**self._learnt(network), "stride": STRIDE, **settings}

        encode = partial(encode_maps, first_tag=self.wanted.table.first_tag)
        folder = self.folder.parent / ".maps" / self.wanted.name
        step = Products(self, "maps", self.wanted, folder, make, whole, False, network, encode, SUFFIX)
        return (step,) if self.with_maps else ()

    def _learnt(self, network: "Training | None") -> Mapping[str, object]:
        """What decides what comes from a network, with the digest of its weights, or without a network."""
        if network is None:
            return self.settings
        return {network.file.name: network.file.digest(), **network.file.settings, **self.settings}

    def join(self, *, last: bool = False) -> Ranks | None:
        """The processes at work on a step; None in one that is started only after the first one has done the step.

        Before Lightning starts the others, the first one works alone.

        Args:
            last: whether no training follows.
        """
        if self.ranks is None:
            self.ranks = joined_at_start(self.make_trainer)
        if self.ranks is None and (last or distributed.is_torchelastic_launched()):
            self.ranks = Ranks.join()
        alone = Ranks(0, 1, self.device) if is_first_process() else None
        return self.ranks or alone

    def refuse_mixtures(self, steps: Sequence[Step]) -> None:
        """Refuses, before anything is made, what was made with other settings, or by a network not trained yet.

        Raises:
            InputError: there are such products, and they must not be made anew; or maps are asked for and not made.
        """
        if self.with_maps and not any(step.name == "maps" for step in steps):
            raise InputError("maps: true: this method makes its masks without maps; leave it out")
        for step in steps:
            if isinstance(step, Products):
                step.refuse_others()

    def look_at_tags(self, steps: Sequence[Step]) -> None:
        """Reads the tags of the images to learn from, if anything is learnt, and of those whose masks are made.

        Raises:
            InputError: some are missing or wrong, or too few are there; after hours it would be too late to say so.
        """
        for step in steps:
            if isinstance(step, Training):
                step.amount()
        if self.wanted.name != self.learnt.name:
            with ThreadPoolExecutor() as pool:
                for _ in pool.map(self.wanted.tags, self.wanted.all_ids()):
                    pass

    def leave(self) -> None:
        """Leaves the other processes."""
        if self.ranks is not None:
            self.ranks.leave()
