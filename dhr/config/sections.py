"""The sections of the configuration that commands share: a data set, masks, features, rebalancing."""

from typing import Literal

from dhr.config.kinds import Part, Section
from dhr.config.provenance import Saw
from dhr.core.ranges import (
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


class WssMasks(Section):
    """Where the masks of a WSS method lie, and how they are made if we can make them.

    `saw` holds whatever made them; `published` are the letters of the masks that others brought.
    """

    name: Name
    masks: str
    recipe: Part | None
    saw: Saw | None = None
    published: Saw | None = None


class WssSource(WssMasks):
    """A WSS method that another one starts from; `source` is what it started from itself."""

    source: WssMasks | None = None


class Wss(WssMasks):
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
