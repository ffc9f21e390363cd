"""Who makes the labels: the trained network, as ever, or the average of its weights."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from crops import crop, stack
from tiny import EPOCHS, STEPS, TRAIN, Tiny
from torch import Tensor, distributed, multiprocessing, nn

import dhr.training.bars
from dhr.config.compose import compose
from dhr.config.groups import GROUPS
from dhr.core.errors import InputError
from dhr.core.sample import Batch, NetworkOutput
from dhr.disk.atomic import read_json
from dhr.rebalancing.rebalancer import Relabelled
from dhr.rebalancing.view import View
from dhr.training.average import EmaAverage, broadcast_buffers
from dhr.training.label_maker import Ema, Labeller, Student, eval_mode
from dhr.training.module import LabelSource

DECAY = 0.9  # of the toy set's optimizer


class Watch(pl.Callback):
    """Follows a training step by step, with an average of its own, and compares the labels of every step."""

    def __init__(self) -> None:
        self.hand: Any = None
        self.updates = 0
        self.steps = self.unlike = 0

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        self.average = next(each for each in trainer.callbacks if isinstance(each, EmaAverage))
        self.hand = deepcopy(module.network)
        self.labels: LabelSource = module.labels
        copied = self.average._copy().module.labels  # the average makes no labels: it shares the one labeller
        assert copied.relabel is self.labels.relabel  # type: ignore[attr-defined]
        module.labels = lambda *given: self.compared(*given)

    def compared(self, batch: Batch, output: NetworkOutput, epoch: int) -> Tensor:
        before = deepcopy(self.average.network.state_dict())
        labels = self.labels(batch, output, epoch)
        after = self.average.network.state_dict()
        assert all(torch.equal(before[name], value) for name, value in after.items())
        assert all(parameter.grad is None for parameter in self.average.network.parameters())
        relabel = self.labels.relabel.relabel  # type: ignore[attr-defined]
        if epoch >= EPOCHS - 1:
            with torch.no_grad():
                expected = relabel(batch, self.hand.eval()(batch.image)).pseudo_mask
            assert torch.equal(labels, expected)
            self.steps += 1
            self.unlike += not torch.equal(labels, relabel(batch, output).pseudo_mask)
        return labels

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        pairs = zip(values(self.hand), values(module.network), strict=True)
        for mine, new in pairs:
            mine.copy_(new if self.updates == 0 else DECAY * mine + (1 - DECAY) * new)
        self.updates += 1


def values(network: nn.Module) -> Iterator[Tensor]:
    yield from (each.data for each in network.parameters())
    yield from (each for each in network.buffers() if each.is_floating_point())


def test_ema_labels_come_from_the_averaged_weights(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    monkeypatch.setattr(dhr.training.bars, "progress_bar", lambda: watch)
    tiny.call("train", "wss=cam", "name=ema", "label_maker=ema")
    assert watch.updates == STEPS and watch.steps == TRAIN // 4
    assert watch.unlike > 0  # the teacher says something else than its student
    record = read_json(tiny.run("ema").record)
    assert (record["label_maker"], record["refresh"], record["status"]) == ("ema", "step", "finished")


class Losses(pl.Callback):
    """Losses of every step; with `bare` labels are made as they were before there was a choice."""

    def __init__(self, *, bare: bool) -> None:
        self.bare = bare
        self.values: list[float] = []

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        if self.bare:
            relabel, start = module.labels.relabel.relabel, module.labels.start_epoch
            module.labels = lambda batch, output, epoch: (
                batch.wss_mask if epoch < start else relabel(batch, output).pseudo_mask
            )

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        self.values.append(float(outputs["loss"]))


def test_a_student_learns_as_before(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [Losses(bare=bare) for bare in (True, False)]
    for number, losses in enumerate(both):
        monkeypatch.setattr(dhr.training.bars, "progress_bar", lambda losses=losses: losses)
        tiny.call("train", "wss=cam", f"name=student{number}")
    assert len(both[0].values) == STEPS
    assert both[0].values == both[1].values


def test_a_labeller_asks_the_network_that_was_chosen() -> None:
    batch, output = stack([crop(0)])
    others = NetworkOutput(output.logits + 1, output.cams, output.features)
    asked = []

    def relabel(batch: Batch, output: NetworkOutput) -> Relabelled:
        asked.append(output)
        view = View.of(batch, output, first_tag=1)
        return Relabelled(view, seeds=batch.wss_mask, pseudo_mask=batch.wss_mask)

    class Average:
        def network(self, image: Tensor) -> NetworkOutput:
            assert not torch.is_grad_enabled()
            return others

    def trained(image: Tensor) -> NetworkOutput:
        return output

    average: Any = Average()
    for maker, expected in ((Student(), output), (Ema(), others)):
        labeller = Labeller(maker, relabel, average, lambda batch: batch)
        labeller(batch, output)
        labeller.whole(batch, trained)  # type: ignore[arg-type]
        assert [each is expected for each in asked] == [True, True]
        asked.clear()


def test_before_training_there_is_no_average() -> None:
    with pytest.raises(RuntimeError, match="no average"):
        EmaAverage(DECAY).network  # noqa: B018 - refuses to be read


def test_modes_are_put_back() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)))
    network[1][1].eval()
    with pytest.raises(KeyError), eval_mode(network):
        assert not any(part.training for part in network.modules())
        raise KeyError
    assert [part.training for part in network.modules()] == [True, True, True, True, False]


def _shared(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    for number, each in enumerate(values(network)):
        each.fill_(10 * rank + number)
    broadcast_buffers(network)
    torch.save(network.state_dict(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_share_batch_norm_statistics(tmp_path: Path) -> None:
    method = "spawn" if torch.cuda.is_available() else "fork"  # a copy, which has imported everything, may use no GPU
    multiprocessing.start_processes(_shared, (str(tmp_path),), nprocs=2, start_method=method)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    same = {name for name in first if torch.equal(first[name], second[name])}
    assert same == {name for name in first if "running" in name or "tracked" in name}
    assert {int(first[name].max()) for name in same if "running" in name} == {6, 7, 8, 9}


def test_the_usual_choice_is_the_default() -> None:
    usual = {name: group.usual for name, group in GROUPS.items() if group.usual}
    assert {group: compose("train").choices[group] for group in usual} == usual


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("label_maker=ema", "simulated-dhr-resnet18_half-seed1-ema"),
        ("refresh=round label_maker=ema tau=0.6", "simulated-dhr-resnet18_half-seed1-ema-round-tau0.6"),
        ("refresh=step label_maker=student", "simulated-dhr-resnet18_half-seed1"),
    ],
)
def test_run_names_say_what_is_not_usual(words: str, name: str) -> None:
    assert compose("train", words.split()).name == name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rebalancing=none label_maker=ema", "label_maker: ema: rebalancing=none makes no labels.*rebalancing=dhr"),
        ("rebalancing=none refresh=round", "refresh: round: rebalancing=none makes no labels.*leave refresh=round out"),
        ("refresh=round refresh.epochs=0", "refresh.epochs: 0: out of range"),
        ("refresh.epochs=3", "refresh.epochs: 3: unknown key"),
        ("label_maker._target_=os.system", "label_maker._target_: os.system: not a part of this group"),
    ],
)
def test_what_makes_no_sense_is_refused(words: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        compose("train", words.split())
