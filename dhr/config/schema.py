"""The typed configuration of every command: which keys there are and of which type their values are."""

from dataclasses import dataclass, field
from typing import Literal

from dhr.config.values import Part


@dataclass
class Paths:
    """Folders."""

    data: str
    outputs: str
    weights: str


@dataclass
class Generate:
    """How many scenes of a toy set are drawn for each split."""

    train: int
    validation: int
    seed: int


@dataclass
class Splits:
    """Names of the folders that hold the images to learn from and to validate on."""

    train: str
    validation: str


@dataclass
class Dataset:
    """A data set and how crops are cut from its images."""

    name: str
    folder: str
    classes: str
    splits: Splits
    crop_size: int
    long_side: tuple[int, int]
    batch_size: int
    max_epochs: int
    rebalancing_start: int
    cam_scale: float
    mass_power: float
    test_scales: list[float]
    workers: int
    jitter: tuple[float, float, float, float]
    flip: float
    generate: Generate | None
    download: Part | None = None
    image_size: int | None = None


@dataclass
class Wss:
    """Where the masks of a WSS method lie, and how they are made if we can make them."""

    name: str
    masks: str
    recipe: Part | None
    saw: str | None = None


@dataclass
class Uss:
    """Where the features of a USS model lie, and how they are made if we can make them.

    `tokens` is the frozen backbone of a trained head, whose file `weights` is and which train_uss makes by `recipe`;
    `form`, `components` and `centred` say how the store keeps the features.
    """

    name: str
    extractor: Part | None
    scales: list[float]
    flip: bool
    stride: int
    store: str
    tokens: Part | None = None
    weights: str | None = None
    recipe: Part | None = None
    form: Literal["pt", "safetensors"] = "pt"
    components: int | None = None
    centred: bool = False


@dataclass
class Rebalancing:
    """What corrects the masks while the network learns, and from which epoch on."""

    start_epoch: int
    rebalancer: Part | None


@dataclass
class Logger:
    """Where the curves go beside metrics.csv."""

    name: Literal["csv", "wandb"]
    project: str | None
    entity: str | None
    mode: Literal["auto", "online", "offline", "disabled"]


@dataclass
class Common:
    """Keys of every command. `choices` holds the chosen option of every group; it is filled in, not typed."""

    paths: Paths
    name: str | None
    seed: int
    tau: float
    debug: bool
    resume: bool | Literal["auto"]
    overwrite: bool
    choices: dict[str, str | None] = field(default_factory=dict, kw_only=True)


@dataclass
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


@dataclass
class Predict(Common):
    """`dhr.predict`."""

    dataset: Dataset
    backbone: Part
    decoder: Part
    classifier: Part
    crf: Part
    run: str | None
    weights: str | None
    split: str
    scales: list[float] | None
    flip: bool
    minimum_probability: float


@dataclass
class Labels(Common):
    """`dhr.labels`. `options` are those of rebalancing, each with its settings, see `dhr.config.label_options`."""

    dataset: Dataset
    backbone: Part
    decoder: Part
    classifier: Part
    wss: Wss
    uss: Uss
    crf: Part
    features: Part
    run: str | None
    weights: str | None
    split: str | None
    options: list[str]
    limit: int | None
    keep: bool | list[str]


@dataclass
class Evaluate(Common):
    """`dhr.evaluate`."""

    run: str | None
    masks: str | None
    split: str
    strict: bool
    allow_missing: bool
    dataset: Dataset | None = None


@dataclass
class Report(Common):
    """`dhr.report`."""

    run: str | None
    compare: list[str]


@dataclass
class Prepare(Common):
    """`dhr.prepare`."""

    dataset: Dataset
    source: str | None
    sbd: str | None
    aug: str | None
    class_order: Literal["by_459_id", "voc_first"] | None
    limit: int | None
    transfer: Literal["link", "copy"]
    workers: int | None


@dataclass
class Audit(Common):
    """`dhr.audit`. Masks and features are only looked at where they are named."""

    dataset: Dataset
    split: str | None
    strict: bool
    wss: Wss | None = None
    uss: Uss | None = None


@dataclass
class TrainWss(Common):
    """`dhr.train_wss`. `cam` is what wss=cam does with the dataset."""

    dataset: Dataset
    cam: Part
    wss: Wss
    crf: Part
    trainer: Part
    split: str | None


@dataclass
class TrainUss(Common):
    """`dhr.train_uss`. `cause` and `stego` are the recipes of uss=cause and uss=stego."""

    dataset: Dataset
    cause: Part
    stego: Part
    uss: Uss
    crf: Part
    trainer: Part


@dataclass
class ExtractUss(Common):
    """`dhr.extract_uss`."""

    dataset: Dataset
    uss: Uss
    split: str | None


@dataclass
class Doctor(Common):
    """`dhr.doctor`."""


SCHEMAS: dict[str, type[Common]] = {
    "train": Train,
    "predict": Predict,
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
