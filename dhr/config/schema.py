"""The typed configuration of every command: which keys there are and of which type their values are."""

from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import Field

from dhr.config.kinds import Part, Section
from dhr.config.sections import Dataset, Paths, Rebalancing, Uss, Wss
from dhr.config.trainer import Logger
from dhr.core.ranges import ONCE, Count, Gamma, LongSide, Name, Precision, Scales, Seed, Side, UnitInterval, Workers


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
    channels_last: bool | None
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
    """`dhr.predict`. `images` are the user's own, instead of a split; the next four keys are about them."""

    split: Name | None
    images: str | None
    tags: str | None
    output: str | None
    overlay: bool
    soft: bool
    longest: LongSide | None
    scales: Scales | None
    flip: bool
    precision: Precision
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
    """`dhr.evaluate`. `rule` says which images are scored."""

    run: str | None
    masks: str | None
    maps: str | None
    powers: Annotated[tuple[Gamma, ...], MinLen(1), ONCE]
    split: Name
    strict: bool
    allow_missing: bool
    rule: Literal["dhr", "released"]
    dataset: Dataset | None = None


class Submit(Common):
    """`dhr.submit`."""

    run: str | None
    masks: str | None
    archive: str | None
    split: Name
    competition: Literal["comp5", "comp6"]
    output: str | None
    dataset: Dataset | None = None


class Report(Common):
    """`dhr.report`. `rows` are ids of images that are written to `figures`; null: the worst and the best."""

    run: str | None
    compare: Annotated[tuple[str, ...], ONCE]
    figures: str | None
    rows: Annotated[tuple[str, ...], MinLen(1), ONCE] | None


class Prepare(Common):
    """`dhr.prepare`. `images` to `validation` are about images of the user's own, see `dhr.config.own_images`."""

    dataset: Dataset
    source: str | None
    sbd: str | None
    aug: str | None
    class_order: Literal["by_459_id", "voc_first"] | None
    images: str | None
    tags: str | None
    masks: str | None
    classes: str | None
    validation: str | None
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
    precision: Precision
    maps: bool


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


class Ground(Common):
    """`dhr.ground`. `prompts` are what the model is asked for: all classes, or the tags of each image."""

    dataset: Dataset
    grounder: Part
    prompts: Literal["classes", "tags"]
    split: Name | None
    output: str | None


class Doctor(Common):
    """`dhr.doctor`."""


SCHEMAS: dict[str, type[Common]] = {
    "train": Train,
    "predict": Predict,
    "export": Export,
    "labels": Labels,
    "evaluate": Evaluate,
    "report": Report,
    "submit": Submit,
    "prepare": Prepare,
    "audit": Audit,
    "train_wss": TrainWss,
    "train_uss": TrainUss,
    "extract_uss": ExtractUss,
    "ground": Ground,
    "doctor": Doctor,
}
