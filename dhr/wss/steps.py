"""The two kinds of step: a network is trained, and a mask is made of every image."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from safetensors.torch import save
from torch import Tensor, nn

from dhr.core.sample import Batch
from dhr.dataset.check import TrainingFiles
from dhr.dataset.datamodule import SegmentationData
from dhr.dataset.split import MaskFolder, Split
from dhr.disk.atomic import write_atomically
from dhr.disk.lock import only_writer
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.disk.weights.state import load_strictly, read_weights
from dhr.runtime.ranks import Ranks
from dhr.training.average import EmaAverage
from dhr.training.fitting import Fitting, is_first_process
from dhr.wss.trained_file import TrainedFile

if TYPE_CHECKING:
    from dhr.wss.workshop import Workshop

log = logging.getLogger("dhr.train_wss")
Masks = Callable[[Sequence[str]], Iterator[tuple[str, Tensor]]]  # of ids: each with its (H,W) uint8 mask


@dataclass
class Training:
    """Trains a network and stores it; one that is stored is read."""

    shop: "Workshop"
    file: TrainedFile
    module: pl.LightningModule
    epochs: int
    given: MaskFolder | None
    parts: Mapping[str, nn.Module]
    average: EmaAverage | None = None
    unit: str = "steps"

    @property
    def name(self) -> str:
        """See `Step`."""
        return self.file.name

    def amount(self) -> int:
        """See `Step`."""
        if self.file.is_there(overwrite=self.shop.overwrite):
            return 0
        return self.epochs * (len(self.shop.tagged) // self.shop.batch_size)

    def trial(self) -> None:
        """See `Step`: a forward and a backward pass of a copy, of crops without masks."""
        crops, copied = self.shop.crops(None), copy.deepcopy(self.module).to(self.shop.device).train()
        samples = [crops[0, position] for position in range(min(self.shop.batch_size, len(crops)))]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*self.trainer. reference is not registered")
            loss = copied.training_step(Batch.of(samples, self.shop.device), 0)
        if isinstance(loss, Tensor):
            loss.backward()

    def run(self) -> None:
        """See `Step`."""
        shop, file = self.shop, self.file
        if file.is_there(overwrite=shop.overwrite):
            log.info(f"{file.weights}: the {file.name} is there; overwrite=true trains it anew")
        else:
            self._train()
        load_strictly(self.module, read_weights(file.weights), file.weights)
        self.module.eval().to(shop.device)

    def _train(self) -> None:
        shop, file = self.shop, self.file
        crops = shop.crops(self.given)
        if self.given is not None:
            TrainingFiles(shop.learnt, self.given, None).tagged()
        data = SegmentationData(train=crops, validation=None, batch_size=shop.batch_size, workers=shop.workers)
        fitting = Fitting(
            shop.make_trainer, file.begun, seed=shop.seed, average=self.average,
            logger=False, max_epochs=self.epochs,
        )  # fmt: skip
        data.share(fitting.processes)
        with only_writer(file.folder, wanted=is_first_process()):
            fitting.run(self.module.train(), data)  # a trial of its masks leaves it in eval mode
            if self.average is not None:
                self.average.settle(self.module)
            for name, part in self.parts.items():
                _save(file.folder / name, part)
            _save(file.weights, self.module)
        trainer = fitting.trainer
        ranks = shop.ranks = Ranks(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)
        ranks.wait()
        if ranks.first:
            file.conclude()
        ranks.wait()


@dataclass
class Products:
    """Makes one mask an image."""

    shop: "Workshop"
    name: str
    split: Split
    folder: Path
    make: Masks
    settings: Callable[[], Mapping[str, object]]
    last: bool
    unit: str = "images"

    def output(self, settings: Mapping[str, object]) -> Output:
        """Their folder."""
        layout, split = self.split.layout, self.split.name
        return Output(
            folder=self.folder,
            settings=settings,
            sources=lambda image_id: [layout.image(split, image_id), layout.tags(split, image_id)],
            elsewhere="wss.masks=<folder>",
        )

    def refuse_others(self) -> None:
        """Refuses products of other settings; the masks of a network that is not trained yet are such.

        Raises:
            InputError: there are some, and they must not be made anew.
        """
        settings = {"network": None} if self.last else self.settings()
        self.output(settings).refuse_mixture(self.split.all_ids(), overwrite=self.shop.overwrite)

    def amount(self) -> int:
        """See `Step`."""
        ids = self.split.all_ids()
        return len(ids) - (0 if self.shop.overwrite else self.output({}).there(ids))

    def trial(self) -> None:
        """See `Step`."""
        ids = self.split.all_ids()
        for _ in self.make(ids[len(ids) // 2 :][:1]):
            pass

    def run(self) -> None:
        """See `Step`. What is made before a training is made by the first process alone: the others are not there."""
        if not self.last and not is_first_process():
            return
        shop = self.shop
        if self.last and shop.ranks is None:
            shop.ranks = Ranks.join()

        def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
            for image_id, mask in self.make(todo):
                keep(image_id, encode_mask(mask.numpy(), self.split.table.palette))
                yield image_id

        ranks = shop.ranks if self.last and shop.ranks is not None else Ranks(0, 1, shop.device)
        title = f"{self.name} {self.split.name}"
        self.output(self.settings()).fill(self.split.all_ids(), make, ranks, title=title, overwrite=shop.overwrite)


@rank_zero_only
def _save(path: Path, part: nn.Module) -> None:
    write_atomically(path, save({name: value.contiguous() for name, value in part.state_dict().items()}))
