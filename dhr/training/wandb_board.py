"""wandb beside metrics.csv: a logger whose failures, whatever they are, are said once and stop nothing."""

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dhr.disk.atomic import read_object, write_json
from dhr.disk.layout import RunFolder
from dhr.training.fitting import is_first_process
from dhr.training.metrics import STEP
from dhr.training.wandb_account import wandb_mode

UPLOAD_SECONDS = 300.0  # that the end of a run waits for its uploads; `wandb sync` sends what is left
ANSWER_SECONDS = 120.0  # that all else may take: connecting gives up by itself after 90
log = logging.getLogger("dhr.train")


@dataclass(frozen=True)
class Drawing:
    """A picture with masks laid over it.

    Attributes:
        title: what stands below.
        image: (H,W,3) uint8 RGB.
        masks: (H,W) uint8 class indices each, by the name that they are switched on and off with.
    """

    title: str
    image: np.ndarray
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)


class Board(Logger):
    """The run in wandb that belongs to a run folder; continued with it, as `wandb.json` there keeps its id.

    All work is done in a thread of its own and waited for: a thread hands every error over as a value, so that none of
    the many kinds that wandb and its service know can end a training, and one that does not answer is not waited for.
    After the first trouble nothing is sent any more.

    Args:
        run: the folder.
        config: the configuration of the run.
        project: of wandb.
        entity: of wandb, None for the account's own.
        mode: see `wandb_mode`.
        group: under which the runs are folded in wandb.
        tags: that it can be filtered by, None for none.
    """

    def __init__(
        self, run: RunFolder, config: Mapping[str, Any], *,
        project: str | None, entity: str | None, mode: str, group: str | None, tags: Sequence[str] | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.run = run
        self.asked = mode
        self.options: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "group": group,
            "tags": tags and [*tags],
            "config": dict(config),
        }
        self.is_open = True
        self._wandb: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wandb")

    @property
    def name(self) -> str | None:
        """The project."""
        return self.options["project"]

    @property
    def version(self) -> str | None:
        """The id of the run in wandb, None before it has one."""
        return None if self._wandb is None else self._wandb.version

    def start(self) -> bool:
        """Connects, where a failure is soon seen; false if wandb cannot start, or is disabled on this machine.

        Only the first process connects: what is logged are means over all of them.
        """
        if is_first_process():
            self._attempt(self._connect, "cannot start")
        return self._wandb is not None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Adds to the configuration that is shown."""
        self._attempt(lambda: self._wandb.log_hyperparams(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Draws numbers over the steps."""
        self._attempt(lambda: self._wandb.log_metrics(metrics, step))

    @rank_zero_only
    def log_table(self, key: str, rows: Sequence[Mapping[str, object]], step: int) -> None:
        """Shows rows that have the same columns, in their order."""
        columns = [*rows[0]]
        self._attempt(lambda: self._wandb.log_table(key, columns, [[*row.values()] for row in rows], step=step))

    @rank_zero_only
    def log_drawings(self, key: str, drawings: Sequence[Drawing], classes: Mapping[int, str], step: int) -> None:
        """Shows pictures; the masks are named and their classes too."""
        masks = [
            {name: {"mask_data": mask, "class_labels": dict(classes)} for name, mask in drawing.masks.items()}
            for drawing in drawings
        ]
        titles = [drawing.title for drawing in drawings]
        images = [drawing.image for drawing in drawings]
        self._attempt(lambda: self._wandb.log_image(key, images, step, caption=titles, masks=masks))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends the run in wandb, and says where the report of the run folder will lie."""
        self._attempt(lambda: self._finish(status), patience=UPLOAD_SECONDS + ANSWER_SECONDS)
        self.is_open = False

    def _connect(self) -> None:
        if (mode := wandb_mode(self.asked)) == "disabled":
            return
        wandb = import_module("wandb")
        # Neither what is printed nor the code, its changes or the address of its repository: they may hold secrets.
        settings = wandb.Settings(
            console="off", save_code=False, disable_git=True, quiet=True, finish_timeout=UPLOAD_SECONDS
        )
        self.run.root.mkdir(parents=True, exist_ok=True)
        begun = wandb.init(
            name=self.run.root.name, dir=self.run.root, id=self._known_id(), resume="allow", job_type="train",
            mode=mode, reinit="create_new", settings=settings, **self.options,
        )  # fmt: skip
        begun.define_metric("*", step_metric=STEP, step_sync=True)
        named = {"id": begun.id, "name": self.run.root.name, "project": begun.project}
        write_json(self.run.wandb, named if mode == "offline" else {**named, "url": begun.url})
        self._wandb = WandbLogger(experiment=begun)

    def _known_id(self) -> str | None:
        """The id of the run that is continued; None where its folder was copied or renamed, or the project is new."""
        kept = read_object(self.run.wandb) if self.run.wandb.exists() else {}
        same = kept.get("name") == self.run.root.name and self.name in (None, kept.get("project"))
        return str(kept["id"]) if same and "id" in kept else None

    def _finish(self, status: str) -> None:
        begun = self._wandb.experiment
        begun.summary["report"] = str(self.run.report.resolve())
        begun.finish(exit_code=0 if status == "success" else 1)
        if begun.offline:
            log.info(f"logger=wandb: to send what was kept here: wandb sync {shlex.quote(str(Path(begun.dir).parent))}")

    def _attempt(self, act: Callable[[], object], failed: str = "gives up", *, patience: float | None = None) -> None:
        if not self.is_open:
            return
        error = self._error_of(act, patience)
        if error is None:
            return
        self.is_open = False
        reason = " ".join(str(error).split()) or type(error).__name__
        log.warning(f"logger=wandb: {failed} ({reason}); the curves are in {self.run.metrics}")
        if self._wandb is not None and self._error_of(lambda: self._wandb.experiment.finish(1)) is not None:
            # Else its own end, at that of the process, would write another traceback.
            self._error_of(import_module("wandb").teardown)

    def _error_of(self, act: Callable[[], object], patience: float | None = None) -> BaseException | None:
        patience = ANSWER_SECONDS if patience is None else patience
        acting = self._thread.submit(act)
        error = _error_after(acting, patience)
        if acting.done():
            return error
        _error_after(ThreadPoolExecutor(1).submit(_end_service), ANSWER_SECONDS)
        _error_after(self._thread.submit(import_module("wandb").teardown), ANSWER_SECONDS)
        return TimeoutError(f"no answer for {patience:.0f} s")


def _error_after(acting: Future[object], seconds: float) -> BaseException | None:
    """What ended an act, None if nothing did; a TimeoutError if it goes on."""
    try:
        return acting.exception(seconds)
    except TimeoutError as error:
        return error


def _end_service() -> None:
    """Kills the process that wandb works in, so that the thread that waits for its answer goes on with an error."""
    service = import_module("wandb").setup().ensure_service()._proc  # noqa: SLF001 - wandb has no public name for it
    if service is not None:
        service._process.kill()  # noqa: SLF001
