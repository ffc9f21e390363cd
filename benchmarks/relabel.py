"""Line 1, relabelling against the plain way and against the network's step; line 8, growth with pixels and classes."""

from collections.abc import Callable

import torch
from measuring import Row, best_of, make_batch
from plain import relabel as plain_relabel

from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.crf.interface import Crf
from dhr.crf.potentials import Potentials
from dhr.rebalancing.rebalancer import Rebalancer

CPU = torch.device("cpu")
SIDES, CLASSES = (128, 256, 384, 512), (2, 5, 10, 20)
ENGINES = {"pydensecrf": 2.5, "native": 4.0}


SEEDS = "rebalancing/seed@rebalancing.rebalancer.seed"  # the option that Hydra calls so


def crf_of(name: str, *words: str) -> Crf:
    """A CRF of the configuration."""
    crf: Crf = build(compose("train", ["dataset=voc", f"crf={name}", *words]).crf)
    return crf


def rebalancer_of(crf: Crf) -> Rebalancer:
    """What the plain way computes, with this CRF: all seeds are written, and all classes have the same mass."""
    cfg = compose("train", ["dataset=voc", "rebalancing=softened", f"{SEEDS}=overwrite", "dataset.mass_power=0"])
    made: Rebalancer = build(cfg.rebalancing.rebalancer, first_tag=1, crf=crf)
    return made


def against_plain(images: int, rounds: int) -> list[Row]:
    """Both CPU engines against loops over cells and pydensecrf in turn, batch of `images`, 512x512, 3 classes."""
    batch, output = make_batch(images, 512, 3, CPU)
    parts = {name: rebalancer_of(crf_of(name)) for name in ENGINES}
    small, little = make_batch(2, 64, 3, CPU)
    for part in parts.values():
        part(small, little)  # starts the processes, compiles

    def plain() -> object:
        return plain_relabel(batch, output, Potentials())

    works: list[Callable[[], object]] = [lambda part=part: part(batch, output) for part in parts.values()]  # type: ignore[misc]
    slow, *fast = best_of(rounds, plain, *works)
    rows = []
    for (name, target), seconds in zip(ENGINES.items(), fast, strict=True):
        detail = f"{images} images: plain {slow:.1f} s, crf={name} {seconds:.1f} s"
        ratio = slow / seconds
        rows.append(Row(1, f"plain / relabelling, crf={name}, CPU", ratio, f">= {target}", ratio >= target, detail))
    return rows


def against_step(rounds: int) -> list[Row]:
    """On a GPU: both CRFs and all else of a step against forward and backward of ResNet-101 DeepLabv3+ in bf16."""
    what, target = "relabelling / network step, GPU", "<= 0.25"
    if not torch.cuda.is_available():
        return [Row(1, what, None, target, None, "no GPU at hand")]
    device = torch.device("cuda")
    batch, output = make_batch(16, 512, 3, device)
    part = rebalancer_of(crf_of("torch"))
    step = _network_step(batch.image)

    def timed(work: Callable[[], object]) -> Callable[[], object]:
        def whole() -> None:
            work()
            torch.cuda.synchronize()

        return whole

    for work in (step, lambda: part(batch, output)):
        timed(work)()
    network, relabelling = best_of(rounds, timed(step), timed(lambda: part(batch, output)))
    ratio = relabelling / network
    detail = f"{torch.cuda.get_device_name()}: step {network * 1e3:.0f} ms, relabelling {relabelling * 1e3:.0f} ms"
    return [Row(1, what, ratio, target, ratio <= 0.25, detail)]


def _network_step(images: torch.Tensor) -> Callable[[], object]:
    from dhr.dataset.classes import load_classes
    from dhr.stage.parts import build_network

    cfg = compose("train", ["dataset=voc", "backbone.weights=null"])
    network = build_network(cfg, load_classes("voc")).to(images.device).to(memory_format=torch.channels_last).train()
    images = images.to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16):
            out = network(images)
            loss = out.logits.float().square().mean() + out.cams.float().square().mean()
        loss.backward()
        network.zero_grad(set_to_none=True)

    return step


def growth(rounds: int) -> tuple[list[Row], dict[str, list[tuple[int, float]]]]:
    """Seconds of one image by side and by classes, crf=native in one thread."""
    part = rebalancer_of(crf_of("native", "crf.workers=0"))
    part(*make_batch(1, 64, 3, CPU))
    by_side = [(side, _seconds(part, side, 3, rounds)) for side in SIDES]
    by_classes = [(count, _seconds(part, 256, count, rounds)) for count in CLASSES]
    per_pixel = [seconds / side**2 for side, seconds in by_side]
    per_class = [seconds / count for count, seconds in by_classes]
    rows = [
        Row(8, "time per pixel, 512^2 / 128^2", per_pixel[-1] / per_pixel[0], "<= 1.5 (linear)",
            per_pixel[-1] <= 1.5 * per_pixel[0], ", ".join(f"{side}^2 {seconds:.3f} s" for side, seconds in by_side)),
        Row(8, "time per class, 20 / 2", per_class[-1] / per_class[0], "<= 1 (at most linear)",
            per_class[-1] <= per_class[0], ", ".join(f"{count} {seconds:.3f} s" for count, seconds in by_classes)),
    ]  # fmt: skip
    return rows, {"side": by_side, "classes": by_classes}


def _seconds(part: Rebalancer, side: int, classes: int, rounds: int) -> float:
    batch, output = make_batch(1, side, classes, CPU)
    return best_of(rounds, lambda: part(batch, output))[0]
