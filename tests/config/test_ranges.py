"""Every number that can be set has a range, and every list has an element."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest
import torch
import yaml
from complaints import complaint
from hypothesis import given
from hypothesis import strategies as st

from dhr.config.check import HOMES, SUPPLIED
from dhr.config.compose import compose
from dhr.config.ranges import DISTINCT, MAY_BE_EMPTY, RANGES, range_problem
from dhr.config.schema import SCHEMAS
from dhr.config.source import defines, parameters
from dhr.config.tree import config_folder, named_targets
from dhr.rebalancing.transport import Transport

FILES = sorted(config_folder().rglob("*.yaml"))
PARTS = [(group, target) for group in HOMES for target in sorted(filter(defines, named_targets(group)))]
UNCERTAIN = ("max_time",)  # of Lightning's trainer, that takes days, hours and seconds by their names


def values_in(value: object, key: str) -> Iterator[tuple[str, object]]:
    """Every plain value with the last word of its key, and every list."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from values_in(each, name)
        return
    if isinstance(value, list):
        yield key, value
    for each in value if isinstance(value, list) else [value]:
        yield key, each


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def takes_number(kind: Any) -> bool:
    return kind in (int, float) or any(takes_number(each) for each in get_args(kind) if not isinstance(each, str | int))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(config_folder())))
def test_every_number_in_a_file_has_a_range(path: Any) -> None:
    content = yaml.safe_load(path.read_text())
    found = [pair for key in {*content} - {"hydra", "version"} for pair in values_in(content[key], key)]
    assert [key for key, value in found if is_number(value) and key not in RANGES] == []
    assert [(key, value) for key, value in found if key != "defaults" and range_problem(key, value)] == []


@pytest.mark.parametrize(("group", "target"), PARTS)
def test_every_number_of_a_part_has_a_range(group: str, target: str) -> None:
    settable = {name: each.kind for name, each in parameters(target).items() if name not in SUPPLIED.get(group, ())}
    numbers = {name for name, kind in settable.items() if takes_number(kind)} - {*UNCERTAIN}
    assert numbers - {*RANGES} == set()


def test_every_number_of_a_command_has_a_range() -> None:
    def keys(schema: Any) -> Iterator[tuple[str, Any]]:
        for key, kind in get_type_hints(schema).items():
            inner = next((each for each in (kind, *get_args(kind)) if is_dataclass(each)), None)
            yield from keys(inner) if inner is not None else [(key, kind)]

    found = {key for schema in SCHEMAS.values() for key, kind in keys(schema) if takes_number(kind)}
    assert found >= {"seed", "tau", "crop_size", "workers"}
    assert found - {*RANGES} == set()
    assert all(fields(schema) for schema in SCHEMAS.values())


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), 1e300])
def test_no_range_has_room_for_nonsense(number: float) -> None:
    assert [key for key in RANGES if range_problem(key, number) is None or range_problem(key, [number]) is None] == []


LISTS = [
    ("train", "dataset.test_scales"),
    ("train", "dataset.long_side"),
    ("train", "dataset.jitter"),
    ("train", "backbone.widths"),
    ("train", "decoder.dropout"),
    ("train", "uss.scales"),
    ("train", "features=computed features.scales"),
    ("train", "backbone=swin_tiny decoder=mask2former backbone.depths"),
    ("train", "backbone=swin_tiny decoder=mask2former backbone.heads"),
    ("train_wss", "cam.scales"),
    ("train_uss", "cause.crops.ratios"),
    ("predict", "weights=setup.py scales"),
    ("labels", "weights=setup.py options"),
]


def test_the_lists_that_are_tried_are_all_there_are() -> None:
    found = {
        key for path in FILES for key, value in values_in(yaml.safe_load(path.read_text()), "") if type(value) is list
    }
    tried = {words.rpartition(" ")[2].rpartition(".")[2] for _, words in LISTS}
    assert found - tried - MAY_BE_EMPTY - {"defaults", "handlers"} == set()


@pytest.mark.parametrize(("verb", "words"), LISTS)
def test_a_list_needs_an_element(capsys: pytest.CaptureFixture[str], verb: str, words: str) -> None:
    assert words.rpartition(" ")[2] in complaint(capsys, verb, f"{words}=[]".split())


@pytest.mark.parametrize(("verb", "words"), [case for case in LISTS if case[1].rpartition(".")[2] in DISTINCT])
def test_what_would_count_twice_is_refused(capsys: pytest.CaptureFixture[str], verb: str, words: str) -> None:
    assert "twice" in complaint(capsys, verb, f"{words}=[1,0.5,1.0,1]".split())


WRONG = [
    ("seed=20241122153000", "4294967295"),
    ("seed=4294967296", "4294967295"),
    ("crf.workers=100000", "to 256"),
    ("dataset.workers=100000", "to 256"),
    ("backbone.widths=[1000000,1,1,1]", "16384"),
    ("decoder.channels=1000000", "16384"),
    ("optimizer.warmup=7", "to 1"),
    ("optimizer.ema_decay=1", "0.999999"),
    ("decoder.dropout=[0.1,0.1,1.0]", "0.99"),
    ("uss.extractor.bandwidth=-1", "0.001"),
    ("uss.extractor.dim=63", "an even number"),
    ("rebalancing.rebalancer.intra_class.transport.epsilon=1e-8", "from 0.001"),
    ("rebalancing=released rebalancing.rebalancer.seed.transport.epsilon=0.01", "from 0.012"),
    ("dataset.crop_size=1", "from 8"),
    ("dataset.crop_size=8 uss.stride=16", "uss.stride=16"),
    ("dataset.image_size=1", "from 8"),
    ("uss.stride=0", "from 1"),
    ("trainer.max_steps=0", "or -1"),
    ("trainer.log_every_n_steps=0", "from 1"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_numbers_out_of_range(capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    message = complaint(capsys, "train", words.split())
    assert words.split()[-1].partition("=")[0] in message or "crop_size" in message
    assert said in message


@pytest.mark.parametrize("words", ["seed=4294967295", "trainer.max_steps=-1", "crf.workers=256", "uss.stride=96"])
def test_the_ends_of_a_range_are_in_it(words: str) -> None:
    compose("train", [words])


@given(st.integers(0, 2**32 - 1), st.sampled_from(["even", "binary", "zeros", "ones", "one class", "steep"]))
def test_the_smallest_epsilon_still_transports(seed: int, kind: str) -> None:
    scores = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    made = {
        "even": scores,
        "binary": (scores > 0.5).float(),
        "zeros": scores * 0,
        "ones": scores * 0 + 1,
        "one class": torch.cat([scores[:, :1] * 0 + 1, scores[:, 1:] * 0], 1),
        "steep": scores**20,
    }[kind]
    everywhere, present = torch.ones(1, 1, 6, 6, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    transport = Transport(epsilon=RANGES["epsilon"].low)
    plan = transport.log_plan(made, everywhere, present).exp()
    assert torch.isfinite(transport(made, everywhere, present)).all()
    assert (plan.sum(2) - 1 / 3).abs().max() < 1e-4
