"""What may be set of Lightning's Trainer: its own signature takes more, and would only be known after its import."""

import re
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from dhr.config.kinds import Section
from dhr.core.ranges import MANY, ONCE, Count, Epoch, Rule, Steps

Some = Annotated[int, Ge(1), Le(MANY)] | Annotated[float, Gt(0), Le(1)]  # so many, or this share of them
SomeOrNone = Annotated[int, Ge(0), Le(MANY)] | Annotated[float, Ge(0), Le(1)]
AnyNumber = Annotated[int, Ge(0), Le(MANY)]
Devices = Annotated[int, Ge(0), Le(65536)] | Literal[-1]
Clock = Annotated[str, Rule(re.compile(r"\d+:\d\d:\d\d:\d\d").fullmatch, " of the form DD:HH:MM:SS")]
Time = Clock | dict[Literal["weeks", "days", "hours", "minutes", "seconds"], AnyNumber]
Precision = Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "bf16", 16, 32, 64]


Tag = Annotated[str, MinLen(1), MaxLen(64)]  # as long as wandb takes


class Logger(Section):
    """Where the curves go beside metrics.csv."""

    name: Literal["csv", "wandb"]
    project: str | None
    entity: str | None
    mode: Literal["auto", "online", "offline", "disabled"]
    group: str | None = None
    tags: Annotated[tuple[Tag, ...], MinLen(1), ONCE] | None = None


class Trainer(Section):
    """`pytorch_lightning.Trainer`; left out are the arguments that the program gives."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = "auto"
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    devices: Devices | Annotated[tuple[AnyNumber, ...], MinLen(1), ONCE] | str = "auto"
    num_nodes: Annotated[int, Ge(1), Le(65536)] = 1
    precision: Precision | None = None
    fast_dev_run: bool | AnyNumber = False
    max_epochs: Count | None = None
    min_epochs: AnyNumber | None = None
    max_steps: Steps | Literal[-1] = -1
    min_steps: AnyNumber | None = None
    max_time: Time | None = None
    limit_train_batches: Some | None = None
    limit_val_batches: SomeOrNone | None = None
    limit_test_batches: SomeOrNone | None = None
    limit_predict_batches: SomeOrNone | None = None
    overfit_batches: SomeOrNone = 0.0
    val_check_interval: Some | Time | None = None
    check_val_every_n_epoch: Steps | None = 1
    num_sanity_val_steps: AnyNumber | Literal[-1] | None = None
    log_every_n_steps: Steps | None = None
    enable_checkpointing: bool | None = None
    enable_progress_bar: bool | None = None
    enable_model_summary: bool | None = None
    accumulate_grad_batches: Steps = 1
    gradient_clip_val: Annotated[float, Gt(0), Le(MANY)] | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    inference_mode: bool = True
    use_distributed_sampler: bool = True
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | None = None
    detect_anomaly: bool = False
    barebones: bool = False
    sync_batchnorm: bool = False
    reload_dataloaders_every_n_epochs: Epoch = 0
    enable_autolog_hparams: bool = True
    model_registry: str | None = None
