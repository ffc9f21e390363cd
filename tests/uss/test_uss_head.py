"""The step of the head of CAUSE: what learns, what follows, what stays."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dhr.uss.cause import CauseHead
from dhr.uss.cause.settings import HeadSettings
from dhr.uss.cause.stage import HeadModule
from dhr.uss.colour import ColourExtractor
from dhr.uss.stego import StegoHead
from dhr.uss.stego.settings import StegoSettings, Term
from dhr.uss.stego.stage import StegoModule
from dhr.uss.training.crops import Pair, UnlabelledCrop
from dhr.uss.training.module import Codes, CodesModule, FrozenModel, UssModule, nearest_code_loss


def views(seed: int) -> UnlabelledCrop:
    generator = torch.Generator().manual_seed(seed)
    return UnlabelledCrop(torch.randn(4, 3, 32, 32, generator=generator), torch.arange(4) + 10 * seed)


def quiet(module: UssModule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a trainer nobody takes what is logged."""
    monkeypatch.setattr(module, "report", lambda *_, **__: None)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> HeadModule:
    torch.manual_seed(0)
    head, codebook = CauseHead(dim=16, cells=64, width=12), torch.randn(8, 16)
    settings = HeadSettings(projection=6, bank=100, ema_decay=0.9, clip=None)
    made = HeadModule(FrozenModel(ColourExtractor(dim=16)), head, codebook, settings=settings, window=4, seed=1)
    quiet(made, monkeypatch)
    return made


def test_the_average_follows_the_student(module: HeadModule) -> None:
    optimizer = module.configure_optimizers()
    start = {name: value.clone() for name, value in module.student.named_parameters()}

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = module.training_step(views(1), 0)
        loss.backward()
        return loss

    step: Callable[..., Any] = module.optimizer_step
    step(0, 0, optimizer, closure)
    for name, average in module.average.named_parameters():
        student = module.student.get_parameter(name)
        torch.testing.assert_close(average, 0.9 * start[name] + 0.1 * student.detach())
        assert student.grad is not None and not average.requires_grad
    assert not torch.equal(module.product.query_pos, start["head.query_pos"])
    module.train()
    assert module.student.training and not module.average.training


def test_the_bank_takes_part_from_the_second_step_on(module: HeadModule) -> None:
    module.eval()
    first = module.training_step(views(1), 0)
    assert len(module.bank) == 8  # half of four images' four windows
    assert not torch.equal(module.training_step(views(1), 0), first)
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    assert torch.equal(checkpoint["bank"]["vectors"], module.bank.vectors)


def test_a_batch_without_anything_alike_has_no_loss(module: HeadModule) -> None:
    module.settings = HeadSettings(projection=6, positive=2.0)
    loss = module.training_step(views(1), 0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(not bool(each.grad.any()) for each in module.student.parameters() if each.grad is not None)


def test_only_codes_learn_from_the_features_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FrozenModel(ColourExtractor(dim=16))
    probes = CodesModule(
        model, Codes.random(3, 16), objective=nearest_code_loss, lr=1e-3, window=1, halving=None, seed=1
    )
    quiet(probes, monkeypatch)
    assert [name for name, _ in probes.named_parameters()] == ["product.codes"]
    assert [*probes.state_dict()] == ["product.codes"]  # a checkpoint does not carry the backbone along
    probes.training_step(views(1), 0).backward()
    assert bool(probes.product.codes.grad.any())


def test_all_parts_of_the_head_of_stego_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    term = Term(weight=1.0, shift=0.2)
    settings = StegoSettings(own=term, neighbour=term, stranger=term, points=3, derangements=2)
    stego = StegoModule(FrozenModel(ColourExtractor(dim=16)), StegoHead(dim=16, width=6), settings=settings, seed=1)
    quiet(stego, monkeypatch)
    stego.training_step(Pair(views(1), views(2)), 0).backward()
    for name, parameter in stego.product.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name
