"""What the stages of training unsupervised features share: a frozen model beside the module, random numbers, logs."""

from typing import Any, Protocol, Self

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed, nn

from dhr.core.extractor import Extractor
from dhr.core.numerics import unit_vectors
from dhr.runtime.ranks import are_several
from dhr.training.stopping import step_key
from dhr.uss.training.crops import UnlabelledCrop
from dhr.uss.training.sampling import at_cells, one_per_window


class FrozenModel:
    """An extractor beside a training: no part of its optimizer and checkpoints; it moves to the device of its input."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self.patch_size = extractor.patch_size
        self.dim = extractor.dim
        self._device: torch.device | None = None

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """(B,3,S,S) -> (B,D,h,w) float32."""
        if self._device != image.device and isinstance(self.extractor, nn.Module):
            self.extractor.to(image.device).eval()
            self._device = image.device
        return self.extractor(image).float()


class UssModule(pl.LightningModule):
    """Base of the stages.

    Attributes:
        product: the result of the stage; its weights are stored when the stage is done.
        steps_per_epoch: set before the training starts, for schedules that count epochs.
    """

    product: nn.Module
    steps_per_epoch: int = 1

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def step_key(self, *further: object) -> int:
        """A number that depends on seed, step and `further` alone."""
        return step_key(self.seed, self.global_step, *further)

    def report(self, size: int, **losses: Tensor) -> None:
        """Logs losses of a batch of `size` crops, averaged over the processes."""
        values = {f"train/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(values, batch_size=size, sync_dist=True)
        self.log("loss", values["train/loss"], batch_size=size, prog_bar=True, logger=False)


class Codes(nn.Module):
    """Learnt vectors (K,D) that tokens are compared with."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.codes = nn.Parameter(start.clone())

    @classmethod
    def random(cls, count: int, dim: int) -> Self:
        """U(-1/K, 1/K), as published."""
        return cls(torch.empty(count, dim).uniform_(-1 / count, 1 / count))


class CodesLoss(Protocol):
    """A loss that is small where (K,D) codes represent (B,N,D) tokens well."""

    def __call__(self, tokens: Tensor, codes: Tensor) -> Tensor:
        """The loss."""
        ...


def nearest_code_loss(tokens: Tensor, codes: Tensor) -> Tensor:
    """-mean of the largest cosine of each token (B,N,D) to the codes (K,D): k-means on the sphere, as STEGO probes."""
    return -(unit_vectors(tokens.detach(), dim=2) @ unit_vectors(codes, dim=1).T).amax(2).mean()


class CodesModule(UssModule):
    """Learns codes that represent the features of a frozen model: the clusterbook of tokens, or the probes of a head.

    Args:
        features: the model; it does not change.
        codes: what is learnt.
        objective: loss of features and codes.
        lr: of Adam.
        window: one feature of every window x window cells is used.
        halving: the learning rate is halved every so many epochs, None never.
        seed: of all random numbers.
    """

    product: Codes

    def __init__(
        self, features: FrozenModel, codes: Codes, *, objective: CodesLoss, lr: float, window: int,
        halving: int | None, seed: int,
    ) -> None:  # fmt: skip
        super().__init__(seed)
        self.features = features
        self.product = codes
        self.objective = objective
        self.lr = lr
        self.window = window
        self.halving = halving

    def training_step(self, batch: UnlabelledCrop, _: int) -> Tensor:
        """Loss of one batch of crops."""
        maps = self.features(batch.image)
        cells = one_per_window(batch.key, (maps.shape[-2], maps.shape[-1]), self.window)
        loss = self.objective(at_cells(maps, cells), self.product.codes)
        self.report(len(batch.key), loss=loss)
        return loss

    def configure_optimizers(self) -> Any:
        """Adam, and a schedule that halves its learning rate where `halving` is set."""
        optimizer = torch.optim.Adam(self.product.parameters(), lr=self.lr)
        if self.halving is None:
            return optimizer
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, self.halving * self.steps_per_epoch, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def of_all_processes(values: Tensor) -> Tensor:
    """(B,...) of every process as one batch, in the order in which one process would have had it."""
    if not are_several():
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values.contiguous())
    return torch.stack(parts, 1).flatten(0, 1)


def sum_of_all_processes(value: Tensor) -> Tensor:
    """A number, added up over the processes; without gradient."""
    total = value.detach().clone()
    if are_several():
        distributed.all_reduce(total)
    return total


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if are_several() else 1
