"""What uss.components costs: the labels that DHR makes of the drawn scenes from fewer channels.

Usage: python benchmarks/uss_pca.py [images]
Measured is the mIoU, against the truth, of labels of whole images made from the simulated masks by
rebalancing=softened without steps 1 and 3: inter-class heat maps, final transport, CRF. That needs no trained network,
and it is the part that reads USS features. `equal` is the share of pixels with the same label as from all
channels, `cosine` the mean absolute change of the cosine of two cells of an image. The directions are fitted to the
same images, in three ways: as uss.components does (second moment of unit vectors), without the unit length, and with
the mean subtracted, as in textbook PCA.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.core.numerics import unit_vectors
from dhr.core.sample import Batch, NetworkOutput, Sample
from dhr.dataset.classes import load_classes
from dhr.dataset.split import MaskFolder, Split, whole_sample
from dhr.dataset.toy.toy_set import write_toy
from dhr.disk.layout import DataLayout
from dhr.evaluation.scores import score_pairs
from dhr.rebalancing.intra_class import NoIntraClass
from dhr.rebalancing.rebalancer import Rebalancer
from dhr.rebalancing.seed import NoSeeds
from dhr.uss.extraction import ExtractionModel
from dhr.uss.pca import Basis, SecondMoment
from dhr.uss.tiling import MemoryFallback

SCALES = (2.0, 1.0, 1.5, 0.5)  # as CAUSE is averaged; the length of the vectors then varies
COMPONENTS = (64, 32, 16, 8, 4, 2)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Centred:
    """Directions of textbook PCA, and the mean that is subtracted first."""

    basis: Basis
    mean: Tensor

    def project(self, features: Tensor) -> Tensor:
        """(D,h,w) -> (C,h,w)."""
        return self.basis.project(features - self.mean[:, None, None])


class RawMoment(SecondMoment):
    """The second moment of the vectors as they are."""

    def add(self, features: Tensor) -> None:
        """Counts every cell once."""
        cells = features.flatten(1).double()
        self.total += cells @ cells.T


def as_components(maps: Sequence[Tensor], count: int, kind: type[SecondMoment] = SecondMoment) -> Basis:
    """What extract_uss does."""
    moment = kind(len(maps[0]))
    for each in maps:
        moment.add(each)
    return moment.basis(count)


def centred(maps: Sequence[Tensor], count: int) -> Centred:
    """Textbook PCA."""
    mean = torch.cat([each.flatten(1) for each in maps], 1).mean(1)
    return Centred(as_components([each - mean[:, None, None] for each in maps], count, RawMoment), mean)


WAYS: dict[str, Callable[[Sequence[Tensor], int], Basis | Centred]] = {
    "unit vectors": as_components,
    "as they are": lambda maps, count: as_components(maps, count, RawMoment),
    "mean subtracted": centred,
}


def rebalancer() -> Rebalancer:
    """Steps 2 and final, from the masks as given."""
    cfg = compose("train", ["dataset=toy", "rebalancing=softened", "crf=native"])
    made: Rebalancer = build(cfg.rebalancing.rebalancer, first_tag=1, crf=build(cfg.crf))
    return replace(made, seed=NoSeeds(), intra_class=NoIntraClass())


def label(part: Rebalancer, samples: Sequence[Sample], maps: Sequence[Tensor]) -> list[Tensor]:
    """(H,W) uint8 labels of every image; the network's output is not looked at."""
    labels = []
    for sample, features in zip(samples, maps, strict=True):
        grid = (features.shape[1], features.shape[2])
        batch = Batch.of([replace(sample, stored_features=sample.window.on_map(features, grid))], torch.device("cpu"))
        nothing = torch.full((1, len(sample.tags), 8, 8), -1.0)
        output = NetworkOutput(torch.zeros(1, len(sample.tags) + 1, 8, 8), nothing, (nothing, nothing))
        labels.append(part(batch, output).pseudo_mask[0].to(torch.uint8))
    return labels


def cosines(features: Tensor) -> Tensor:
    """(N,N) between all cells."""
    unit = unit_vectors(features.flatten(1), dim=0)
    return unit.T @ unit


def main() -> int:
    """Prints the table."""
    count, table = int((sys.argv[1:] or ["48"])[0]), load_classes("toy")
    with tempfile.TemporaryDirectory() as data:
        write_toy(Path(data), splits={"train": count}, image_size=96)
        split = Split.open(DataLayout(Path(data), "Toy"), "train", table)
        masks = MaskFolder(Path(data) / "WSS" / "Toy" / "Simulated" / "train", table.num_classes)
        ids = [split.id(number) for number in range(count)]
        samples = [whole_sample(split, image_id, wss_masks=masks, features=None, stride=4) for image_id in ids]
        truths = [torch.from_numpy(split.colours.read(split.truths.path(image_id))) for image_id in ids]
    extractor = build(compose("extract_uss", ["uss=colour"]).uss.extractor)
    features = ExtractionModel(MemoryFallback(extractor), SCALES, flip=True, device=CPU)
    maps, part = [features(sample.pixels).float() for sample in samples], rebalancer()
    full = label(part, samples, maps)
    given = score_pairs([(sample.wss_mask, truth) for sample, truth in zip(samples, truths, strict=True)], table).miou
    print(f"{count} drawn scenes, colour features, {len(maps[0])} channels; masks as given: mIoU {given:.2f}")
    print(f"all channels: mIoU {score_pairs(list(zip(full, truths, strict=True)), table).miou:.2f}")
    print(f"{'channels':>8}  {'directions of':<16} {'mIoU':>6} {'equal, %':>9} {'cosine':>8}")
    for kept in COMPONENTS:
        for name, way in WAYS.items():
            basis = way(maps, kept)
            fewer = [basis.project(each).half().float() for each in maps]
            labels = label(part, samples, fewer)
            miou = score_pairs(list(zip(labels, truths, strict=True)), table).miou
            equal = 100 * torch.stack([a == b for a, b in zip(labels, full, strict=True)]).float().mean()
            change = torch.stack([(cosines(a) - cosines(b)).abs().mean() for a, b in zip(maps, fewer, strict=True)])
            print(f"{kept:>8}  {name:<16} {miou:>6.2f} {float(equal):>9.2f} {float(change.mean()):>8.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
