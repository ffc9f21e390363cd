"""Which numbers a key allows, by its last word, or by that and its class. No number of a file is without a range."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Allowed numbers, `low` and `high` included unless `above` leaves `low` out; `also` is one number more."""

    low: float
    high: float
    above: bool = False
    even: bool = False
    also: int | None = None

    def holds(self, number: float) -> bool:
        """False for NaN and infinities too."""
        if number == self.also:
            return True
        within = self.low < number <= self.high if self.above else self.low <= number <= self.high
        return within and not (self.even and number % 2)

    def __str__(self) -> str:
        what = "an even number" if self.even else "a number"
        bounds = f"> {self.low} and <= {self.high}" if self.above else f"from {self.low} to {self.high}"
        return f"{what} {bounds}{'' if self.also is None else f', or {self.also}'}"


MANY = 1_000_000_000
UNIT = Range(0, 1)
KEPT = Range(0, 0.999999)  # at 1 nothing would ever be learnt
DROPPED = Range(0, 0.99)  # at 1 nothing would be left
WEIGHT = Range(0, 10_000)
COSINE = Range(-1, 1)
RATE = Range(0, 10, above=True)
FACTOR = Range(0.05, 10)  # on the size of an image
REACH = Range(0.5, 1000)  # of a CRF, in pixels or grey levels: below that its lattice has more cells than numbers
LAYERS = Range(1, 256)
WIDTH = Range(1, 16384)
COUNT = Range(1, 1_000_000)
STEPS = Range(1, MANY)
EPOCHS = Range(0, 1_000_000)
SEED = Range(0, 2**32 - 1)  # what numpy takes
WORKERS = Range(0, 256)  # each is a process with files of its own
RANGES = {  # for lists: of every element
    **dict.fromkeys(("tau", "flip", "jitter", "threshold", "share", "mass_power"), UNIT),
    **dict.fromkeys(("minimum_probability", "minimum_share", "no_object", "importance", "warmup"), UNIT),
    **dict.fromkeys(("momentum", "ema_decay"), KEPT),
    **dict.fromkeys(("dropout", "drop_path"), DROPPED),
    "ratios": Range(0, 1, above=True),
    "seed": SEED,
    "workers": WORKERS,
    "block": Range(0, 1000),  # deeper than any network; which blocks it has, the network says
    **dict.fromkeys(("start_epoch", "rebalancing_start"), EPOCHS),
    **dict.fromkeys(("max_epochs", "epochs", "halving", "limit"), COUNT),
    "steps": STEPS,
    **dict.fromkeys(("backbone_lr", "head_lr", "lr"), RATE),
    "weight_decay": Range(0, 10),
    "power": Range(0, 10),
    "gamma": Range(0, 10, above=True),
    "epsilon": Range(0.001, 10),  # below that the class marginals of the transport are off by more than 1e-5
    "ReleasedTransport.epsilon": Range(0.012, 10),  # below that its kernel is 0
    "iterations": Range(1, 10_000),
    "minimum_score": Range(-1000, 1000),  # a logit
    "minimum_pixels": EPOCHS,
    **dict.fromkeys(("scales", "test_scales", "cam_scale", "scale"), FACTOR),
    **dict.fromkeys(("crop_size", "image_size", "resolution"), Range(8, 8192)),
    "long_side": Range(8, 16384),
    "batch_size": Range(2, 65536),  # batch norm of a pooled 1x1 map needs two images
    **dict.fromkeys(("gaussian_weight", "bilateral_weight"), WEIGHT),
    **dict.fromkeys(("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"), REACH),
    "images_at_once": COUNT,
    **dict.fromkeys(("depth", "depths", "heads", "encoder_layers", "decoder_layers", "window"), LAYERS),
    **dict.fromkeys(("embed", "width", "widths", "channels", "low_level_channels", "projection"), WIDTH),
    **dict.fromkeys(("encoder_width", "decoder_width", "queries", "components"), WIDTH),
    **dict.fromkeys(("patch_size", "stride", "output_stride"), Range(1, 256)),
    **dict.fromkeys(("points", "codes", "clusters", "train", "validation"), COUNT),
    **dict.fromkeys(("neighbours", "derangements"), Range(1, 10_000)),
    "oversample": Range(1, 100),
    "bank": Range(0, 100_000),
    **dict.fromkeys(("class_weight", "mask_weight", "dice_weight", "weight"), WEIGHT),
    **dict.fromkeys(("positive", "negative", "shift"), COSINE),
    **dict.fromkeys(("temperature", "bandwidth"), Range(0.001, 1000)),
    **dict.fromkeys(("texture", "light"), Range(0, 1000)),
    "frozen_stages": Range(0, 4),  # C2..C5
    "dim": Range(2, 16384, even=True),
    "clip": Range(0, 1_000_000, above=True),
    # of Lightning's trainer
    "max_steps": Range(1, MANY, also=-1),
    "num_sanity_val_steps": Range(0, MANY, also=-1),
    **dict.fromkeys(("devices", "num_nodes"), Range(0, 65536, also=-1)),
    **dict.fromkeys(("log_every_n_steps", "accumulate_grad_batches", "check_val_every_n_epoch"), STEPS),
    **dict.fromkeys(("limit_train_batches", "val_check_interval", "gradient_clip_val"), Range(0, MANY, above=True)),
    **dict.fromkeys(("min_epochs", "min_steps", "limit_val_batches", "overfit_batches"), Range(0, MANY)),
    **dict.fromkeys(("limit_test_batches", "limit_predict_batches", "fast_dev_run"), Range(0, MANY)),
    "reload_dataloaders_every_n_epochs": EPOCHS,
}
MAY_BE_EMPTY = frozenset({"compare"})
DISTINCT = frozenset(
    {"scales", "test_scales", "compare", "options", "keep"}
)  # an element that stands twice would count twice


def range_problem(key: str, value: object) -> str | None:
    """What is wrong with a number, or a list of them, under `key`, and what is allowed; None if nothing is."""
    values: list[Any] = value if isinstance(value, list) else [value]
    if not values and key not in MAY_BE_EMPTY:
        return "an empty list; give at least one value"
    if key in DISTINCT and len({*values}) < len(values):
        return "holds a value twice; each counts once"
    allowed = RANGES.get(key)
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    return None if allowed is None or all(map(allowed.holds, numbers)) else f"out of range; allowed is {allowed}"
