"""Line 2, the torch CRF equals pydensecrf; line 3, the compiled CRF on one core and on two."""

import numpy as np
import torch
from measuring import Row, best_of, photographs, source_of_pictures
from relabel import crf_of

from dhr.crf.potentials import Potentials
from dhr.crf.worker import infer

SIDE, CLASSES = 512, 4


def inputs(images: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Photographs with soft scores of four classes, whole images, all classes present."""
    pixels, masks = photographs(images, SIDE)
    generator = torch.Generator().manual_seed(0)
    scores = torch.nn.functional.one_hot(masks.long() % CLASSES, CLASSES).permute(0, 3, 1, 2).float()
    coarse = torch.nn.functional.avg_pool2d(scores, 16)
    soft = torch.nn.functional.interpolate(
        coarse + 0.3 * torch.rand(coarse.shape, generator=generator), size=(SIDE, SIDE)
    )
    valid = torch.ones(images, SIDE, SIDE, dtype=torch.bool)
    return soft / soft.sum(1, keepdim=True), pixels, valid, torch.ones(images, CLASSES, dtype=torch.bool)


def parity(images: int) -> list[Row]:
    """Mean difference of the marginals and share of equal labels, image by image against pydensecrf."""
    probabilities, pixels, valid, present = inputs(images)
    expected = torch.stack([_by_pydensecrf(*pair) for pair in zip(probabilities, pixels, strict=True)])
    rows = []
    for name in ("torch", "native"):
        found = crf_of(name).on(pixels, valid)(probabilities, present)
        difference = float((found - expected).abs().mean())
        same = float((found.argmax(1) == expected.argmax(1)).float().mean())
        where = f"{images} {source_of_pictures()}, {SIDE}x{SIDE}, {CLASSES} classes, CPU"
        rows.append(Row(2, f"mean |dQ| of crf={name}", difference, "<= 1e-4", difference <= 1e-4, where))
        rows.append(Row(2, f"equal labels of crf={name}", same, ">= 0.999", same >= 0.999, where))
    return [*rows, *_on_gpu(probabilities, pixels, valid, present)]


def _on_gpu(*parts: torch.Tensor) -> list[Row]:
    what, target = "ms for 16 images, crf=torch, GPU", "<= 12"
    if not torch.cuda.is_available():
        return [Row(2, what, None, target, None, "no GPU at hand")]
    probabilities, pixels, valid, present = (
        each.repeat(16 // len(each), *[1] * (each.ndim - 1)).to("cuda") for each in parts
    )
    crf = crf_of("torch")

    def once() -> None:
        crf.on(pixels, valid)(probabilities, present)
        torch.cuda.synchronize()

    once()
    milliseconds = best_of(5, once)[0] * 1e3
    return [Row(2, what, milliseconds, target, milliseconds <= 12, torch.cuda.get_device_name())]


def _by_pydensecrf(probabilities: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    return torch.from_numpy(infer(probabilities.numpy(), image, Potentials()))


def engines(images: int, rounds: int) -> list[Row]:
    """A field and two inferences, as in a step: native against pydensecrf on one core, and two workers against one."""
    probabilities, pixels, valid, present = inputs(images)

    def step(name: str, workers: int) -> object:
        crf = crf_of(name, f"crf.workers={workers}")
        crf.on(pixels[:1, :, :32, :32], valid[:1, :32, :32])(probabilities[:1, :, :32, :32], present[:1])

        def both() -> None:
            field = crf.on(pixels, valid)
            field(probabilities, present)
            field(probabilities, present)

        return both

    torch.set_num_threads(1)
    works = [step("pydensecrf", 0), step("native", 0), step("native", 2), step("pydensecrf", 2)]
    slow, one, two, slow_two = best_of(rounds, *works)  # type: ignore[arg-type]
    seconds = f"{images} images: pydensecrf {slow:.2f} s, native {one:.2f} s; two workers {slow_two:.2f}, {two:.2f} s"
    return [
        Row(3, "pydensecrf / native, one core", slow / one, ">= 1.5", slow / one >= 1.5, seconds),
        Row(3, "native, one worker / two", one / two, ">= 1.85", one / two >= 1.85, seconds),
        Row(3, "pydensecrf, one worker / two", slow / slow_two, "", None, seconds),
    ]
