"""Network and data of a command: those of a run, or a file of weights with the configuration of the command line."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.exported import Stated, stated
from dhr.config.stored import load_run_config
from dhr.core.errors import InputError
from dhr.core.labels import OWN
from dhr.dataset.classes import ClassTable, classes_of, table_as_stated
from dhr.dataset.split import Split
from dhr.disk.layout import RunFolder
from dhr.disk.mark import sha256_of
from dhr.disk.run_record import RunRecord
from dhr.disk.weights.hub import PROGRAM
from dhr.network.segmentation import SegmentationNetwork
from dhr.network.weights import load_network
from dhr.stage.parts import build_network, open_split, open_split_of_run, refuse_other_classes

DIGITS = 8  # of the digest of weights in the name of a folder
log = logging.getLogger("dhr.predict")


@dataclass(frozen=True)
class Source:
    """`run=<folder>` or `weights=<file>`, resolved once.

    Attributes:
        settings: configuration that describes network and data.
        folder: of the products of the network, such as masks.
        weights: file of the network.
        is_run: whether it is a run, whose configuration is stored in its folder.
    """

    settings: DictConfig
    folder: RunFolder
    weights: Path
    is_run: bool

    @classmethod
    def of(cls, cfg: DictConfig) -> "Source":
        """What `cfg.run` or `cfg.weights` names.

        Raises:
            InputError: no such run, or it is not finished.
        """
        if cfg.run is not None:
            source = cls.of_run(Path(cfg.run), data=cfg.paths.data)
            if not source.folder.is_finished:
                root = source.folder.root
                raise InputError(f"run: {root}: is not finished; continue it with the same command and resume=true")
            return source
        weights = Path(cfg.weights)
        name = weights.stem  # files of the same name, as last.ckpt, must not share a folder
        if weights.is_file():
            name = f"{name}-{sha256_of(weights).partition(':')[2][:DIGITS]}"
        folder = RunFolder(Path(cfg.paths.outputs) / cfg.dataset.name / "weights" / name)
        return cls(cfg, folder, weights, is_run=False)

    @classmethod
    def of_run(cls, root: Path, *, data: str) -> "Source":
        """A run, finished or not, whose data may lie elsewhere by now.

        Raises:
            InputError: no such run.
        """
        folder, settings = RunFolder(root), load_run_config(root)
        settings.paths.data = data
        return cls(settings, folder, folder.last, is_run=True)

    def split(self, name: str) -> Split:
        """A split of the data set.

        Raises:
            InputError: it is not on disk, or its labels mean other classes than those that the run learnt.
        """
        if self.is_run:
            return open_split_of_run(self.settings, self.folder, name)
        opened, said = open_split(self.settings, name), stated(self.weights)
        if said is not None:
            refuse_other_classes(opened, said.classes.names, self.weights)
        return opened

    def table(self) -> ClassTable:
        """Its classes, in the order that it learnt; no split of the data set has to be there.

        Raises:
            InputError: what the run recorded are no classes of the data set.
        """
        name = self.settings.dataset.classes
        if not self.is_run:
            said = stated(self.weights)
            if said is not None:
                return _table_of(said)
            return classes_of(Path(self.settings.paths.data) / self.settings.dataset.folder, name)
        table = table_as_stated(name, RunRecord.read(self.folder.record).classes, self.folder.record)
        return replace(table, name=self.settings.dataset.name) if name == OWN else table

    def network(self, table: ClassTable) -> SegmentationNetwork:
        """The network with its weights, the averaged ones of a run; or what asks an ONNX file.

        Raises:
            InputError: they do not fit; or the file does not say what it is.
        """
        if self.weights.suffix == PROGRAM:
            return self._program()
        network = build_network(self.settings, table, trained=True)
        load_network(network, self.weights)
        if not self.is_run and stated(self.weights) is None:
            stride = network.backbone.output_stride
            log.info(f"{self.weights}: fits; it does not say its output stride, {stride} is taken")
        return network

    def _program(self) -> SegmentationNetwork:
        from dhr.network.program import program_network  # brings timm and transformers, which most commands need not

        said = stated(self.weights)
        if said is None:
            raise InputError(f"weights: {self.weights}: not of dhr.export; use a run, or weights that it exported")
        entries = said.entries
        return program_network(self.weights, stride=int(entries["stride"]), cells=str(entries["cells"]))


def _table_of(said: Stated) -> ClassTable:
    """The classes of an exported network, which need not be a table of this program."""
    classes = said.classes
    return ClassTable(classes.table, classes.names, classes.has_background, classes.palette, None, {}, {})
