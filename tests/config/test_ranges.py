"""Every number that can be set has a range beside it, and every list has an element."""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
import pytorch_lightning
import torch
import yaml
from annotated_types import Ge, Gt, Le
from complaints import complaint
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dhr.config.compose import compose
from dhr.config.groups import GROUPS, classes_of
from dhr.config.kinds import Part, Section, alternatives, keys_of, section_of
from dhr.config.schema import SCHEMAS
from dhr.config.signatures import UNREAD, defines, section_of_part
from dhr.config.trainer import Trainer
from dhr.config.tree import config_folder
from dhr.rebalancing.transport import Transport

FILES = sorted(config_folder().rglob("*.yaml"))
PARTS = sorted({(target, GROUPS[group].supplied) for group in GROUPS for target in classes_of(group)})
INVALID = (float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), 1e300, -1e300)


def sections_in(section: type[Section]) -> Iterator[type[Section]]:
    """A section and those inside it."""
    yield section
    for kind in keys_of(section).values():
        inner = section_of(kind)
        if inner is not None:
            yield from sections_in(inner)


SECTIONS = {
    **{inner.__name__: inner for schema in SCHEMAS.values() for inner in sections_in(schema)},
    **{target: section_of_part(target, supplied) for target, supplied in PARTS},
}
KEYS = [(name, key) for name, section in SECTIONS.items() for key in keys_of(section)]


def numbers(kind: Any) -> Iterator[Any]:
    """The types of all numbers in a type, with their limits."""
    if kind in (int, float) or (get_origin(kind) is Annotated and get_args(kind)[0] in (int, float)):
        yield kind
    elif get_origin(kind) is not Literal:
        for inner in get_args(kind):
            yield from numbers(inner)


NUMBERS = [(name, key) for name, key in KEYS if [*numbers(keys_of(SECTIONS[name])[key])]]


def takes(kind: Any, value: object) -> bool:
    """Whether a value is allowed, where a list is read as a tuple."""
    try:
        TypeAdapter(kind, config=None if section_of(kind) else Section.model_config).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_every_number_has_a_range(name: str, key: str) -> None:
    """Below it, above it, NaN and infinities are refused; its ends and the default are not."""
    whole = keys_of(SECTIONS[name])[key]
    for kind in numbers(whole):
        limits = {type(limit): limit for limit in get_args(kind)[1:]}
        assert Le in limits and (Ge in limits or Gt in limits), f"{name}.{key}: {kind} has no range"
        low, high = limits[Ge].ge if Ge in limits else limits[Gt].gt, limits[Le].le
        wrong = [low - 1, high + 1, *INVALID, *([low] if Gt in limits else [])]
        assert [value for value in wrong if takes(kind, value)] == []
        assert takes(kind, high) and (Gt in limits or takes(kind, low))
        assert not takes(kind, True) and not takes(kind, str(high))
        if kind in alternatives(whole):
            assert [value for value in INVALID if takes(whole, value)] == []
    field = SECTIONS[name].model_fields[key]
    default = tuple(field.default) if isinstance(field.default, list) else field.default
    assert field.is_required() or (default is not UNREAD and takes(whole, default))


def test_the_numbers_are_those_of_every_kind_of_part() -> None:
    """What the test above goes over; if this fails, it is blind."""
    found = {*NUMBERS}
    assert {
        ("Dataset", "crop_size"),
        ("Train", "tau"),
        ("DrawnScenes", "seed"),
        ("dhr.training.optimizer.AdamWithDecay", "warmup"),
        ("dhr.uss.colour.ColourExtractor", "bandwidth"),
        ("dhr.uss.cause.settings.HeadSettings", "positive"),
        ("dhr.uss.stego.settings.Term", "shift"),
        ("dhr.crf.native.NativeCrf", "bilateral_srgb"),
        ("dhr.decoder.mask2former_loss.MaskLoss", "oversample"),
        ("dhr.rebalancing.released.ReleasedTransport", "epsilon"),
        ("pytorch_lightning.Trainer", "max_time"),
    } <= found


@pytest.mark.parametrize("target", [target for target, _ in PARTS if target.startswith("dhr.")])
def test_what_is_read_of_a_part_is_what_python_says(target: str) -> None:
    """Names, defaults and types with their ranges; a class in a type is a part."""
    module, _, name = target.rpartition(".")
    part = getattr(importlib.import_module(module), name)
    real = inspect.signature(part).parameters
    hints = get_type_hints(part.__init__ if "__init__" in vars(part) and real else part, include_extras=True)
    assert defines(target)
    read = section_of_part(target)
    assert [key for key in keys_of(read) if key != "saw" or "saw" in real] == [*real]
    for key, each in real.items():
        field = read.model_fields[key]
        default = tuple(field.default) if isinstance(field.default, list) else field.default
        assert field.is_required() == (each.default is each.empty), key
        assert field.is_required() or default == each.default, key
        assert keys_of(read)[key] == (Part if is_class(hints[key]) else hints[key]), key


def is_class(kind: Any) -> bool:
    """True for a class that is built by a node."""
    return isinstance(kind, type) and kind not in (int, float, str, bool) and get_origin(kind) is None


def test_lightnings_trainer_knows_every_key_that_may_be_set_of_it() -> None:
    real = inspect.signature(pytorch_lightning.Trainer).parameters
    assert Trainer.model_fields.keys() | GROUPS["trainer"].supplied == real.keys()
    assert {key: each.default for key, each in Trainer.model_fields.items()} == {
        key: each.default for key, each in real.items() if key not in GROUPS["trainer"].supplied
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(config_folder())))
def test_every_value_of_a_part_in_a_file_is_allowed(path: Any) -> None:
    for node in nodes_in(yaml.safe_load(path.read_text())):
        section = section_of_part(node["_target_"])
        for key, value in node.items():
            plain = tuple(value) if isinstance(value, list) else value
            if key in keys_of(section) and not isinstance(value, dict) and "${" not in str(value):
                assert takes(keys_of(section)[key], plain), f"{key}: {value}"


def nodes_in(value: object) -> Iterator[dict[str, Any]]:
    """Every part in a file whose class it names."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield value
        for each in value.values():
            yield from nodes_in(each)


@pytest.mark.parametrize(("name", "key"), [
    (name, key) for name, key in KEYS if "..." in str(keys_of(SECTIONS[name])[key])
])  # fmt: skip
def test_no_list_but_one_may_be_empty_and_no_value_counts_twice(name: str, key: str) -> None:
    kind = keys_of(SECTIONS[name])[key]
    assert takes(kind, ()) == ((name, key) == ("Report", "compare"))
    assert [takes(kind, (value, value)) for value in (1, 0.5, "a")] == [False] * 3


MAY_BE_EMPTY = {"compare"}
TWICE = ("scales", "test_scales", "options", "dilations", "powers")
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
    ("train_wss", "wss=text wss.recipe.templates"),
    ("train_wss", "wss=text wss.recipe.background"),
    ("train_uss", "cause.crops.ratios"),
    ("predict", "weights=setup.py scales"),
    ("labels", "weights=setup.py options"),
    ("evaluate", "maps=. dataset=toy powers"),
    ("train", "crf=pamr crf.dilations"),
    ("train", "logger=wandb logger.tags"),
]


def lists_in(value: object, key: str) -> Iterator[str]:
    """The last word of the key of every list."""
    if isinstance(value, list):
        yield key
    for name, each in value.items() if isinstance(value, dict) else ():
        yield from lists_in(each, name)


def test_the_lists_that_are_tried_are_all_there_are() -> None:
    found = {key for path in FILES for key in lists_in(yaml.safe_load(path.read_text()), "")}
    tried = {words.rpartition(" ")[2].rpartition(".")[2] for _, words in LISTS}
    assert found - tried - MAY_BE_EMPTY - {"defaults", "handlers"} == set()


@pytest.mark.parametrize(("verb", "words"), LISTS)
def test_a_list_needs_an_element(capsys: pytest.CaptureFixture[str], verb: str, words: str) -> None:
    assert words.rpartition(" ")[2] in complaint(capsys, verb, f"{words}=[]".split())


@pytest.mark.parametrize(("verb", "words"), [case for case in LISTS if re.split(r"[. ]", case[1])[-1] in TWICE])
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
    ("optimizer.head_lr=.nan", "> 0"),
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
    ("trainer.max_time={days:-1}", "from 0"),
    ("trainer.max_time=2h", "DD:HH:MM:SS"),
    ("trainer.limit_train_batches=1.5", "<= 1"),
    ("trainer.val_check_interval=0", "> 0"),
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
    hint = get_type_hints(Transport, include_extras=True)["epsilon"]
    transport = Transport(epsilon=next(limit.ge for limit in get_args(hint) if isinstance(limit, Ge)))
    plan = transport.log_plan(made, everywhere, present).exp()
    assert torch.isfinite(transport(made, everywhere, present)).all()
    assert (plan.sum(2) - 1 / 3).abs().max() < 1e-4
