"""One way to fit a module, for every training: atomic checkpoints, exact continuation, an end at any step."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dhr.core.errors import InputError
from dhr.disk.weights.state import read_checkpoint, refuse_unfit_checkpoint
from dhr.disk.writing import remove_orphans, writing
from dhr.runtime.ranks import Ranks
from dhr.runtime.signals import Note, Stopped, noted
from dhr.training.average import EmaAverage
from dhr.training.checkpoint import AtomicCheckpointIO
from dhr.training.stopping import SkipDone, StepSeeds, StopOnSignal

LAST = "last.ckpt"  # the newest checkpoint
NOT_TRUE_HERE = (  # what Lightning warns of
    r"(?s).*your dataloader is not resumable",  # it skips what was done
    "Checkpoint directory .* exists and is not empty",  # of the run that goes on
    "Total length of `list` across ranks is zero",  # whoever gives no validation means it
    r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen parts are meant to be
    "Experiment logs directory .* exists and is not empty",  # the curves are set aside before
    "You passed in a `val_dataloader` but have no `validation_step`",  # a classifier of tags is not validated
    r"The number of training batches \(\d+\) is smaller than the logging interval",  # which counts over epochs
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning itself calls it
)


class MakeTrainer(Protocol):
    """Makes a trainer of the configuration with further options."""

    def __call__(self, *, callbacks: Sequence[Callback], **options: Any) -> pl.Trainer:
        """A trainer with these callbacks first."""
        ...


def is_first_process() -> bool:
    """Whether this is the process that writes shared files; known before a trainer exists."""
    return getattr(rank_zero_only, "rank", 0) == 0


def joined_at_start(make_trainer: MakeTrainer) -> Ranks | None:
    """The processes that a scheduler, such as srun or torchrun, started at once for a training that is still to come.

    They are joined as the training will find them. None where one process trains, or where it starts the others itself.
    """
    trainer = make_trainer(callbacks=[], logger=False, enable_checkpointing=False)
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.world_size == 1 or environment is None or isinstance(environment, LightningEnvironment):
        return None
    trainer.strategy.setup_environment()
    return Ranks(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)


class Fitting:
    """A trainer whose run can be stopped after any step; continued, it is bit by bit the uninterrupted run.

    Args:
        make_trainer: makes the trainer.
        folder: of the checkpoint, last.ckpt.
        seed: of the random numbers of the steps.
        callbacks: in addition to those of this class.
        average: of the weights, None where none is kept; it is updated before a step counts as done.
        **options: of the trainer, in addition to those of its configuration.
    """

    def __init__(
        self, make_trainer: MakeTrainer, folder: Path, *, seed: int, callbacks: Sequence[Callback] = (),
        average: EmaAverage | None = None, **options: Any,
    ) -> None:  # fmt: skip
        self.last = folder / LAST
        self.note = Note()
        own: list[Callback] = [StepSeeds(seed), SkipDone(), *([] if average is None else [average])]
        stop = StopOnSignal(self.last, self.note, average)
        # At the end of every epoch, whether it was validated or not; not before its validation.
        checkpoint = ModelCheckpoint(
            folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
        )
        self.trainer = make_trainer(
            default_root_dir=str(folder.parent),
            callbacks=[*own, *callbacks, stop, checkpoint],
            plugins=[AtomicCheckpointIO()],
            **options,
        )

    @property
    def processes(self) -> int:
        """Number of processes that train together."""
        return self.trainer.num_devices * self.trainer.num_nodes

    def run(self, module: pl.LightningModule, data: Any) -> None:
        """Trains to the end, from the newest checkpoint if there is one.

        Args:
            module: to train.
            data: a data module or a loader whose sampler can `skip`.

        Raises:
            Stopped: a signal came; the checkpoint is of the last step.
            InputError: the checkpoint cannot be read, or no step was made.
        """
        with writing(self.last):  # Lightning would make the folder, and end in a traceback where it cannot
            self.last.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(self.last.parent)
        continued = self.last.exists()
        if continued:
            refuse_unfit_checkpoint(read_checkpoint(self.last), module, self.last)
        with noted(self.note), warnings.catch_warnings():
            for message in NOT_TRUE_HERE:
                warnings.filterwarnings("ignore", message=message)
            try:
                self.trainer.fit(module, data, ckpt_path=self.last if continued else None, weights_only=True)
            except SIGTERMException:
                raise Stopped(self.note.number or 0) from None
            except MisconfigurationException as error:
                raise InputError(f"trainer: {error}") from error
            finally:
                # What ends in a validation ends that loop alone: the loader of the training would keep its processes,
                # which outlive signals, so this one would wait for them at its end.
                self.trainer.fit_loop.teardown()
        if vars(self.trainer)["fast_dev_run"] or not self.trainer.is_global_zero:
            return
        # A training is finished only if its last step is in the checkpoint.
        step = read_checkpoint(self.last)["global_step"] if self.last.exists() else 0
        if step == 0:
            raise InputError("trainer: not a single step was made; let trainer.limit_train_batches allow some")
        if step != self.trainer.global_step:
            raise RuntimeError(f"{self.last}: is of step {step}, the training ended with {self.trainer.global_step}")
