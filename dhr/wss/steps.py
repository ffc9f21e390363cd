"""The two kinds of step: a network is trained, and a mask is made of every image."""

import copy
import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from safetensors.torch import save
from torch import Tensor, nn

from dhr.core.sample import Batch
from dhr.dataset.check import TrainingFiles
from dhr.dataset.datamodule import SegmentationData, whole_batches
from dhr.dataset.split import MaskFolder, Split
from dhr.disk.atomic import write_atomically
from dhr.disk.lock import only_writer
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.disk.weights.state import load_strictly, read_weights
from dhr.disk.writing import remove_orphans
from dhr.network.precision import mixed
from dhr.runtime.ranks import Ranks
from dhr.training.average import EmaAverage
from dhr.training.fitting import Fitting, is_first_process
from dhr.wss.trained_file import TrainedFile

if TYPE_CHECKING:
    from dhr.wss.workshop import Workshop

TRIED = 4  # images of a trial at least: some are larger, some show more classes
log = logging.getLogger("dhr.train_wss")
Masks = Callable[[Sequence[str]], Iterator[tuple[str, Tensor]]]  # of ids: each with its (H,W) uint8 mask


@runtime_checkable
class Phased(Protocol):
    """A module whose steps are of several kinds, one after the other.

    Attributes:
        trial_epoch: of steps that are made outside of a training.
    """

    trial_epoch: int

    def kind_of(self, epoch: int) -> int:
        """Number of the kind of its steps."""
        ...


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
        """See `Step`.

        Raises:
            InputError: also where too few images have tags, or a training that goes on left a broken checkpoint.
        """
        if self.file.is_there():
            return 0
        return max(self.epochs * self._steps_of_epoch - self.file.steps_done(), 0)

    @property
    def _steps_of_epoch(self) -> int:
        return whole_batches(len(self.shop.tagged), self.shop.batch_size)

    def trial(self) -> float:
        """See `Step`: both passes of a copy over crops without masks, which the loader's workers share out.

        Where the steps of the epochs that are left are of several kinds, the mean of one of each.
        """
        crops, copied = self.shop.crops(None), copy.deepcopy(self.module).to(self.shop.device).train()
        start = time.perf_counter()
        samples = [crops[0, position] for position in range(min(self.shop.batch_size, len(crops)))]
        reading = (time.perf_counter() - start) / max(self.shop.workers, 1)
        batch = Batch.of(samples, self.shop.device)
        if not isinstance(copied, Phased):
            return reading + _seconds_of_step(copied, batch)
        left = range(min(self.file.steps_done() // self._steps_of_epoch, self.epochs - 1), self.epochs)
        epoch_of = {copied.kind_of(epoch): epoch for epoch in left}
        seconds = 0.0
        for kind, epochs in Counter(map(copied.kind_of, left)).items():
            copied.trial_epoch = epoch_of[kind]
            seconds += epochs * _seconds_of_step(copied, batch)
        return reading + seconds / len(left)

    def run(self) -> None:
        """See `Step`."""
        shop, file = self.shop, self.file
        if file.is_there():
            log.info(f"{file.weights}: the {file.name} is there; overwrite=true trains it anew")
            if is_first_process():
                file.tidy()
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
            if is_first_process():
                remove_orphans(file.folder)
            fitting.run(self.module.train(), data)  # Lightning leaves the mode alone, and a trial of masks set another
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
    """Makes one file an image: its mask, or what `encode` makes of it."""

    shop: "Workshop"
    name: str
    split: Split
    folder: Path
    make: Masks
    settings: Callable[[], Mapping[str, object]]
    last: bool
    network: Training | None = None
    encode: Callable[[Tensor], bytes] | None = None
    suffix: str = ".png"
    unit: str = "images"
    given: Callable[[str], str] = lambda _: ""

    def _made(self, ids: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        with mixed(self.shop.precision, self.shop.device):
            yield from self.make(ids)

    def output(self, settings: Mapping[str, object]) -> Output:
        """Their folder."""
        if self.shop.precision != "fp32":
            settings = {**settings, "precision_of_masks": self.shop.precision}
        layout, split = self.split.layout, self.split.name
        return Output(
            folder=self.folder,
            settings=settings,
            sources=lambda image_id: [layout.image(split, image_id), layout.tags(split, image_id)],
            what="masks" if self.encode is None else self.name,
            suffix=self.suffix,
            # What is learnt lies beside the masks, so that others of the same networks need only a name.
            elsewhere=f"wss.masks={self.folder.parent}/<name>" if self.last else "wss.masks=<folder>/{split}",
            given=self.given,
        )

    def refuse_others(self) -> None:
        """Refuses products of other settings; those of a network that is not trained yet are such.

        Raises:
            InputError: there are some, and they must not be made anew.
        """
        untrained = self.network is not None and not self.network.file.is_there()
        settings = {"network": None} if untrained else self.settings()
        self.output(settings).refuse_mixture(self.split.all_ids(), overwrite=self.shop.overwrite)

    def amount(self) -> int:
        """See `Step`."""
        ids = self.split.all_ids()
        return len(ids) - (0 if self.shop.overwrite else self.output({}).there(ids))

    def trial(self) -> float:
        """See `Step`: some images spread over the split, at least one for every process of the CRF."""
        number = min(max(TRIED, self.shop.crf.workers), len(self.split))
        ids = self.split.all_ids()[:: len(self.split) // number][:number]
        with _as_it_was(None if self.network is None else self.network.module, self.shop.device):
            start = time.perf_counter()
            for _ in self._made(ids):
                pass
            return (time.perf_counter() - start) / number

    def run(self) -> None:
        """See `Step`."""
        shop, ranks = self.shop, self.shop.join(last=self.last)
        if ranks is None:
            return

        def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
            for image_id, mask in self._made(todo):
                data = encode_mask(mask.numpy(), self.split.table.palette) if self.encode is None else self.encode(mask)
                keep(image_id, data)
                yield image_id

        title = f"{self.name} {self.split.name}"
        self.output(self.settings()).fill(self.split.all_ids(), make, ranks, title=title, overwrite=shop.overwrite)


@contextmanager
def _as_it_was(network: nn.Module | None, device: torch.device) -> Iterator[None]:
    """Has a network on the device meanwhile; afterwards its place and the modes of its layers are as before."""
    layers = {} if network is None else {layer: layer.training for layer in network.modules()}
    places = [] if network is None else [each.device for each in network.parameters()]
    if network is not None:
        network.to(device)
    try:
        yield
    finally:
        for layer, training in layers.items():
            layer.training = training
        if network is not None and places:
            network.to(places[0])


def _seconds_of_step(module: pl.LightningModule, batch: Batch) -> float:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*self.trainer. reference is not registered")
        loss = module.training_step(batch, 0)
    if isinstance(loss, Tensor):
        loss.backward()
        loss.item()  # when the device is done
    return time.perf_counter() - start


@rank_zero_only
def _save(path: Path, part: nn.Module) -> None:
    write_atomically(path, save({name: value.contiguous() for name, value in part.state_dict().items()}))
