"""crf=auto is one of the others, chosen by where the images are and by what is installed."""

import pytest
import torch
from test_crf import batch, refined

from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.crf import auto
from dhr.crf.auto import AutoCrf, best

SMALL = {"gaussian_sxy": 2.0, "bilateral_sxy": 20.0, "bilateral_srgb": 9.0, "iterations": 3, "workers": 0}


@pytest.mark.parametrize(
    "installed, expected",
    [({"numba", "pydensecrf"}, "native"), ({"pydensecrf"}, "pydensecrf"), (set(), "torch")],
)
def test_the_choice(monkeypatch: pytest.MonkeyPatch, installed: set[str], expected: str) -> None:
    monkeypatch.setattr(auto, "find_spec", lambda name: name in installed or None)
    assert best(on_cpu=True) == expected
    assert best(on_cpu=False) == "torch"


@pytest.mark.parametrize("engine", ["native", "pydensecrf", "torch"])
def test_every_choice_gives_the_same_marginals(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    expected = refined(AutoCrf(**SMALL), *batch())  # type: ignore[arg-type]
    monkeypatch.setattr(auto, "best", lambda *, on_cpu: engine)
    found = refined(AutoCrf(**SMALL), *batch())  # type: ignore[arg-type]
    assert float((found - expected).abs().mean()) < 1e-5
    assert bool((found.argmax(1) == expected.argmax(1)).float().mean() > 0.999)


def test_real_data_sets_take_it_with_the_published_parameters() -> None:
    for dataset in ("voc", "coco", "context", "ade", "stuff"):
        crf = build(compose("train", [f"dataset={dataset}"]).crf)
        assert isinstance(crf, AutoCrf)
        assert tuple(vars(crf.plain()).values()) == (10, 1, 3, 67, 3, 4)


def test_workers_go_to_the_engine() -> None:
    crf = AutoCrf(workers=1)
    crf.on(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.ones(1, 4, 4, dtype=torch.bool))
    (engine,) = crf._made.values()
    assert engine.workers == 1  # type: ignore[attr-defined]
