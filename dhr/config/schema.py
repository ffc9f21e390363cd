"""The typed configuration of every command: which keys there are and of which type their values are."""

from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import Field

from dhr.config.kinds import Part, Section
from dhr.config.provenance import Saw
from dhr.config.trainer import Logger
from dhr.core.ranges import (
    ONCE,
    BatchSize,
    Count,
    Epoch,
    LongSide,
    Name,
    Scale,
    Scales,
    Seed,
    Side,
    SmallCount,
    UnitInterval,
    Width,
    Workers,
)


class Paths(Section):
    """Folders."""

    data: str
    outputs: str
    weights: str


class DrawnScenes(Section):
    """How many scenes of a toy set are drawn for each split."""

    train: Count
    validation: Count
    seed: Seed


class Splits(Section):
    """Names of the folders that hold the images to learn from and to validate on."""

    train: str
    validation: str


class Dataset(Section):
    """A data set and how crops are cut from its images."""

    name: Name
    folder: Name
    classes: Name
    splits: Splits
    crop_size: Side
    long_side: tuple[LongSide, LongSide]
    batch_size: BatchSize
    max_epochs: Count
    rebalancing_start: Epoch
    cam_scale: Scale
    mass_power: UnitInterval
    test_scales: Scales
    workers: Workers
    jitter: tuple[UnitInterval, UnitInterval, UnitInterval, UnitInterval]
    flip: UnitInterval
    generate: DrawnScenes | None
    download: Part | None = None
    image_size: Side | None = None


class WssSource(Section):
    """Where the masks of a WSS method lie, and how they are made if we can make them."""

    name: Name
    masks: str
    recipe: Part | None
    saw: Saw | None = None


class Wss(WssSource):
    """The WSS method of a command; `source` is another one, whose products it starts from."""

    source: WssSource | None = None


class Uss(Section):
    """Where the features of a USS model lie, and how they are made if we can make them.

    `tokens` is the frozen backbone of a trained head, whose file `weights` is and which train_uss makes by `recipe`;
    `form`, `components` and `centred` say how the store keeps the features.
    """

    name: Name
    extractor: Part | None
    scales: Scales
    flip: bool
    stride: SmallCount
    store: str
    tokens: Part | None = None
    weights: str | None = None
    recipe: Part | None = None
    form: Literal["pt", "safetensors"] = "pt"
    components: Width | None = None
    centred: bool = False


class Rebalancing(Section):
    """What corrects the masks while the network learns, and from which epoch on."""

    start_epoch: Epoch
    rebalancer: Part | None


class OptionOfLabels(Section):
    """What an option of `dhr.labels` sets."""

    tau: UnitInterval
    rebalancing: Rebalancing


class Common(Section):
    """Keys of every command. `choices` holds the chosen option of every group; it is filled in, not typed."""

    paths: Paths
    name: Name | None
    seed: Seed
    tau: UnitInterval
    debug: bool
    resume: bool | Literal["auto"]
    overwrite: bool
    choices: dict[str, str | None] = Field(default_factory=dict)


class Train(Common):
    """`dhr.train`."""

    dataset: Dataset
    backbone: Part
    decoder: Part
    classifier: Part
    wss: Wss
    uss: Uss
    crf: Part
    rebalancing: Rebalancing
    label_maker: Part
    refresh: Part
    features: Part
    optimizer: Part
    trainer: Part
    channels_last: bool
    logger: Logger


class OfNetwork(Common):
    """Keys of commands for a trained network: of a run, or of a file of weights."""

    dataset: Dataset
    backbone: Part
    decoder: Part
    classifier: Part
    crf: Part
    run: str | None
    weights: str | None


class Predict(OfNetwork):
    """`dhr.predict`."""

    split: Name
    scales: Scales | None
    flip: bool
    minimum_probability: UnitInterval


class Export(OfNetwork):
    """`dhr.export`. `images` are compared on; null: some of the validation split."""

    format: Literal["safetensors", "torch_export", "onnx"]
    output: str | None
    size: tuple[Side, Side] | None
    images: Annotated[tuple[str, ...], MinLen(1), ONCE] | None


class Labels(OfNetwork):
    """`dhr.labels`. `options` are those of rebalancing, each with its settings, see `dhr.config.label_options`."""

    wss: Wss
    uss: Uss
    features: Part
    split: Name | None
    options: Annotated[tuple[str, ...], MinLen(1), ONCE]
    limit: Count | None
    keep: bool | Annotated[tuple[str, ...], MinLen(1), ONCE]


class Evaluate(Common):
    """`dhr.evaluate`."""

    run: str | None
    masks: str | None
    split: Name
    strict: bool
    allow_missing: bool
    dataset: Dataset | None = None


class Report(Common):
    """`dhr.report`."""

    run: str | None
    compare: Annotated[tuple[str, ...], ONCE]


class Prepare(Common):
    """`dhr.prepare`."""

    dataset: Dataset
    source: str | None
    sbd: str | None
    aug: str | None
    class_order: Literal["by_459_id", "voc_first"] | None
    limit: Count | None
    transfer: Literal["link", "copy"]
    workers: Workers | None


class Audit(Common):
    """`dhr.audit`. Masks and features are only looked at where they are named."""

    dataset: Dataset
    split: Name | None
    strict: bool
    wss: Wss | None = None
    uss: Uss | None = None


class TrainWss(Common):
    """`dhr.train_wss`. `cam` is what wss=cam does with the dataset; networks of other methods are those of `train`."""

    dataset: Dataset
    cam: Part
    backbone: Part
    decoder: Part
    classifier: Part
    optimizer: Part
    wss: Wss
    uss: Uss
    crf: Part
    trainer: Part
    split: Name | None


class TrainUss(Common):
    """`dhr.train_uss`. `cause` and `stego` are the recipes of uss=cause and uss=stego."""

    dataset: Dataset
    cause: Part
    stego: Part
    uss: Uss
    crf: Part
    trainer: Part


class ExtractUss(Common):
    """`dhr.extract_uss`."""

    dataset: Dataset
    uss: Uss
    split: Name | None


class Doctor(Common):
    """`dhr.doctor`."""


SCHEMAS: dict[str, type[Common]] = {
    "train": Train,
    "predict": Predict,
    "export": Export,
    "labels": Labels,
    "evaluate": Evaluate,
    "report": Report,
    "prepare": Prepare,
    "audit": Audit,
    "train_wss": TrainWss,
    "train_uss": TrainUss,
    "extract_uss": ExtractUss,
    "doctor": Doctor,
}
