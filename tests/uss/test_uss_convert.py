"""Files as the repositories of CAUSE and STEGO save them become files that the extractors read."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from dhr.uss.cause import CauseHead, load_cause
from dhr.uss.colour import ColourExtractor
from dhr.uss.stego import StegoHead, load_stego
from scripts import convert_uss

TOKENS = ColourExtractor(patch_size=4, dim=12)


def saved(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)


def segment_of(prefix: str = "") -> dict[str, Tensor]:
    """A state dict with a head that learns, its average, their projections and a probe for labels."""
    torch.manual_seed(0)
    parts = {"head": CauseHead(dim=12, cells=9), "head_ema": CauseHead(dim=12, cells=9)}
    weights = {f"{part}.{name}": value for part, head in parts.items() for name, value in head.state_dict().items()}
    others = ("projection_head.f", "projection_head_ema.f", "linear.f")
    weights |= {f"{name}.weight": torch.rand(4, 90, 1, 1) for name in others}
    return {f"{prefix}{name}": value for name, value in weights.items()}


def stego_of() -> dict[str, Tensor]:
    torch.manual_seed(0)
    weights = {f"net.{name}": value for name, value in StegoHead(dim=12).state_dict().items()}
    probes = {"cluster_probe.clusters": torch.rand(27, 70), "linear_probe.weight": torch.rand(27, 70, 1, 1)}
    return {
        **weights,
        **probes,
        "net.model.cls_token": torch.rand(1, 1, 12),
        "decoder.weight": torch.rand(12, 70, 1, 1),
    }


@pytest.fixture
def codes(tmp_path: Path) -> str:
    np.save(tmp_path / "modular.npy", np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32))
    return str(tmp_path / "modular.npy")


def convert(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and everything that was said."""
    code = convert_uss.main(words)
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.parametrize("prefix", ["", "module."])
def test_cause(tmp_path: Path, codes: str, capsys: pytest.CaptureFixture[str], prefix: str) -> None:
    segment, to = saved(tmp_path / "segment_tr.pth", segment_of(prefix)), tmp_path / "weights" / "CAUSE_Toy.pt"
    words = ("cause", "--segment", segment, "--modular", codes, "--to", str(to))
    assert convert(capsys, *words) == (0, f"{to}: uss=cause uss/tokens=those it was trained on\n")
    head, codebook = load_cause(to, TOKENS)
    for name, value in head.state_dict().items():
        assert torch.equal(value, segment_of()[f"head_ema.{name}"])
    assert np.array_equal(codebook.numpy(), np.load(codes))
    before = to.read_bytes()
    assert convert(capsys, *words) == (2, f"{to}: is there already; add --overwrite, or give another name\n")
    assert to.read_bytes() == before and convert(capsys, *words, "--overwrite")[0] == 0


def test_the_backbone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decoder = {f"head_ema.{name}": value for name, value in CauseHead(dim=384, cells=529).state_dict().items()}
    np.save(tmp_path / "modular.npy", np.ones((2, 384), np.float32))
    words = ("--modular", str(tmp_path / "modular.npy"), "--to", str(tmp_path / "CAUSE.pt"))
    code, said = convert(capsys, "cause", "--segment", saved(tmp_path / "s.pth", decoder), *words)
    assert code == 0 and said.endswith("uss=cause uss/tokens=dinov2_vits14\n")


@pytest.mark.parametrize("whole", [True, False])
def test_stego(tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: bool) -> None:
    content = {"state_dict": stego_of(), "epoch": 1, "optimizer_states": [{"state": {}}]} if whole else stego_of()
    to = tmp_path / "STEGO_Toy.pt"
    words = ("stego", "--checkpoint", saved(tmp_path / "x.ckpt", content), "--to", str(to))
    assert convert(capsys, *words)[0] == 0
    for name, value in load_stego(to, TOKENS).state_dict().items():
        assert torch.equal(value, stego_of()[f"net.{name}"])


def test_settings_of_lightning_are_not_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"state_dict": stego_of(), "hyper_parameters": {"cfg": OmegaConf.create({"dim": 70})}}
    path, to = saved(tmp_path / "x.ckpt", content), tmp_path / "STEGO.pt"
    code, said = convert(capsys, "stego", "--checkpoint", path, "--to", str(to))
    assert code == 2 and not to.exists()
    assert said.startswith(f"{path}: not a checkpoint: it cannot be read safely (UnpicklingError); ")
    cure = said[said.index('python -c "') + len('python -c "') : said.index('" and convert')]
    exec(cure.replace("'weights.pt'", repr(str(tmp_path / "weights.pt"))), {})  # the cure cures
    words = ("stego", "--checkpoint", str(tmp_path / "weights.pt"), "--to", str(to))
    assert convert(capsys, *words)[0] == 0 and to.exists()


class Bomb:
    """Unpickled, it would make a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sentinel,)


@pytest.mark.parametrize("bomb", ["segment", "modular"])
def test_files_run_no_code(tmp_path: Path, codes: str, capsys: pytest.CaptureFixture[str], bomb: str) -> None:
    sentinel, segment = tmp_path / "ran", saved(tmp_path / "segment_tr.pth", segment_of())
    if bomb == "segment":
        saved(tmp_path / "segment_tr.pth", {**segment_of(), "more": Bomb(sentinel)})
    else:
        np.save(codes, np.array([Bomb(sentinel)], dtype=object), allow_pickle=True)
    words = ("--segment", segment, "--modular", codes, "--to", str(tmp_path / "CAUSE.pt"))
    code, said = convert(capsys, "cause", *words)
    assert code == 2 and Path(segment if bomb == "segment" else codes).name in said
    assert not sentinel.exists() and not (tmp_path / "CAUSE.pt").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(12, np.float32), r"no codes \(C,D\)"),
        (np.full((2, 12), np.nan, np.float32), r"no codes \(C,D\) of finite numbers"),
        (np.ones((2, 12), np.int64), r"no codes \(C,D\)"),
        (np.ones((2, 13), np.float32), "codes of 13 channels, a head of 12"),
        (b"\x93NUMPY", "no array of numbers"),
        (b"", "no array of numbers"),
        (None, "no such file"),
    ],
)
def test_other_codes_are_refused(
    tmp_path: Path, codes: str, capsys: pytest.CaptureFixture[str], array: Any, message: str
) -> None:
    Path(codes).unlink()
    if isinstance(array, bytes):
        Path(codes).write_bytes(array)
    elif array is not None:
        np.save(codes, array)
    words = ("--segment", saved(tmp_path / "s.pth", segment_of()), "--modular", codes, "--to", str(tmp_path / "C.pt"))
    code, said = convert(capsys, "cause", *words)
    assert code == 2 and re.search(message, said), said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"head_ema.f1.weight": torch.rand(90, 12, 1, 1)}, "the head of CAUSE-MLP"),
        ({"weight": torch.rand(3)}, "no head of CAUSE"),
        ({"head_ema.query_pos": torch.rand(9, 12)}, "24 missing"),
    ],
)
def test_other_segments_are_refused(
    tmp_path: Path, codes: str, capsys: pytest.CaptureFixture[str], content: Any, message: str
) -> None:
    words = ("--segment", saved(tmp_path / "s.pth", content), "--modular", codes, "--to", str(tmp_path / "C.pt"))
    code, said = convert(capsys, "cause", *words)
    assert code == 2 and message in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"weight": torch.rand(3)}}, "has no net.cluster1"),
        ({"net.cluster1.0.weight": torch.rand(70, 12, 1, 1)}, "a linear head"),
        ({"state_dict": [1]}, "not a plain state dict"),
    ],
)
def test_other_checkpoints_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: str
) -> None:
    words = ("--checkpoint", saved(tmp_path / "x.ckpt", content), "--to", str(tmp_path / "S.pt"))
    code, said = convert(capsys, "stego", *words)
    assert code == 2 and message in said


def test_missing_files_are_named(tmp_path: Path, codes: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = convert(capsys, "cause", "--segment", "no.pth", "--modular", codes, "--to", str(tmp_path / "C.pt"))
    assert (code, said) == (2, "no.pth: no such file\n")
