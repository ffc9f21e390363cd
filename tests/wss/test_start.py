"""What networks begin with: asked for where a training begins, and nowhere else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import NETWORK, Tiny

from dhr.core.errors import InputError
from dhr.runtime.signals import Stopped

METHODS: dict[str, tuple[str, str, tuple[str, ...]]] = {  # its folder, where its backbone is set, its words
    "cam": ("CAM", "cam.backbone", ()),
    "mars": ("MARS", "backbone", ("cam.backbone.weights=absent.pth", "dataset.max_epochs=1")),
    "rsepm": ("RSEPM", "backbone", ("wss.recipe.epochs=2", "wss.recipe.scales=[1.0]", "wss.recipe.flip=false")),
}


@pytest.fixture
def there(tiny: Tiny, tmp_path: Path) -> Tiny:
    """With a file of weights to begin with."""
    copied = tiny.copy(tmp_path)
    shutil.copy(copied.wss / "backbone.safetensors", tmp_path / "start.safetensors")
    return copied


@pytest.mark.parametrize("method", METHODS)
def test_a_trained_method_needs_no_weights_to_begin_with(
    there: Tiny, method: str, at_step: Callable[[int], None]
) -> None:
    """Nor does a training that goes on, and nothing but the masks of a source is needed by wss=mars."""
    name, place, words = METHODS[method]
    folder, start = there.wss.parent / name, there.root / "start.safetensors"
    if method == "cam":
        shutil.rmtree(folder)
    words = (f"wss={method}", *NETWORK, f"{place}.weights={start}", *words)
    at_step(2)
    with pytest.raises(Stopped):
        there.call("train_wss", *words)
    start.unlink()
    at_step(0)
    there.call("train_wss", *words)
    mask = folder / "train" / "train_00003.png"
    content = mask.read_bytes()
    mask.unlink()
    there.call("train_wss", *words)
    assert mask.read_bytes() == content
    with pytest.raises(InputError, match=f"^{place}.weights={start}: no such file"):
        there.call("train_wss", *words, "overwrite=true")


def test_edges_need_no_weights_of_the_classifier_to_begin_with(there: Tiny) -> None:
    there.call("train_wss", "wss=irn", "wss.recipe.epochs=1", "cam.backbone.weights=absent.pth")
    assert (there.wss.parent / "IRN" / "edges.safetensors").exists()


def test_a_run_that_goes_on_needs_none_either(there: Tiny, at_step: Callable[[int], None]) -> None:
    start = there.root / "start.safetensors"
    words = ("rebalancing=none", "name=one", "resume=auto", f"backbone.weights={start}")
    at_step(2)
    with pytest.raises(Stopped):
        there.call("train", *words)
    start.unlink()
    at_step(0)
    there.call("train", *words)
    assert there.run("one").is_finished
