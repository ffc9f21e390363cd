"""How well clusters of features fit classes that the model never learnt: Hungarian matching over a whole split."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dhr.core.colour import normalise
from dhr.core.extractor import Extractor
from dhr.core.numerics import fast_argmax, resize, unit_vectors
from dhr.crf.interface import Crf
from dhr.dataset.split import Split
from dhr.evaluation.scores import JointHistogram, joint_histogram
from dhr.network.multi_scale import multi_scale_features
from dhr.runtime.progress import progress
from dhr.runtime.ranks import Ranks

SHARPNESS = 3.0  # soft-max of 3 cos is what the CRF gets, as in CAUSE and STEGO
DEFINITION = (
    "one histogram of truth and cluster over all images, truth 255 left out; each class gets the cluster that makes "
    "the sum of hits largest (Hungarian matching); pixels of clusters without a class are missed by every class; "
    "IoU = TP/(T+P-TP), mean over classes with T+P > 0; accuracy = hits / pixels; both in percent"
)


@dataclass(frozen=True)
class ClusterScores:
    """Scores of clusters, in percent.

    Attributes:
        miou: mean over the classes that occur.
        accuracy: of the pixels.
        iou: (K), NaN for a class that occurs nowhere.
        clusters: cluster of every class, None for a class without one.
    """

    miou: float
    accuracy: float
    iou: np.ndarray
    clusters: list[int | None]


def hungarian_scores(pairs: np.ndarray, num_classes: int, num_clusters: int) -> ClusterScores:
    """Scores of a joint histogram (256,256) of truth (rows) and clusters (columns).

    There may be more clusters than classes, or fewer; those that are left over match nothing.
    """
    counts = pairs[:num_classes, :num_clusters]
    classes, clusters = linear_sum_assignment(counts, maximize=True)
    partner = dict(zip(classes.tolist(), clusters.tolist(), strict=True))
    truth, hit, predicted = counts.sum(1), np.zeros(num_classes), np.zeros(num_classes)
    hit[classes] = counts[classes, clusters]
    predicted[classes] = counts[:, clusters].sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = hit / (truth + predicted - hit) * 100
        accuracy = hit.sum() / truth.sum() * 100
    miou = float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")
    return ClusterScores(miou, float(accuracy), iou, [partner.get(label) for label in range(num_classes)])


@torch.no_grad()
def cluster_map(extractor: Extractor, probes: Tensor, pixels: Tensor, *, crf: Crf) -> Tensor:
    """(3,H,W) uint8 -> (H,W) uint8: the cluster of every pixel.

    Features of the image and its mirror image are averaged, up-sampled, and compared with the probes (C,D); the CRF
    refines soft-max(3 cos).
    """
    size = (pixels.shape[-2], pixels.shape[-1])
    features = multi_scale_features(extractor, normalise(pixels)[None].to(probes.device), scales=(1.0,), flip=True)[0]
    cosines = torch.einsum(
        "kd,dhw->khw", unit_vectors(probes, dim=1), unit_vectors(resize(features[None], size)[0], dim=0)
    )
    field = crf.on(pixels[None], torch.ones(1, *size, dtype=torch.bool))
    marginals = field((SHARPNESS * cosines).softmax(0)[None].cpu(), torch.ones(1, len(probes), dtype=torch.bool))
    return fast_argmax(marginals[0], dim=0).to(torch.uint8)


def score_clusters(
    extractor: Extractor, probes: Tensor, split: Split, ids: Sequence[str], of_label: np.ndarray, *,
    crf: Crf, ranks: Ranks,
) -> ClusterScores:  # fmt: skip
    """Scores over all images of `ids`, shared out over the processes and added up.

    Args:
        extractor: gives the features.
        probes: (C,D), one per cluster.
        split: with human masks.
        ids: of the images.
        of_label: (256) uint8, the class that a label of a human mask counts as; 255 for none.
        crf: refines the cluster maps.
        ranks: the processes.
    """
    known = torch.from_numpy(of_label)
    histogram = JointHistogram().to(ranks.device)
    for image_id in progress(ranks.share(ids), "evaluate", visible=ranks.first):
        pixels = split.pixels(image_id)
        truth = known[split.truths.read(image_id, (pixels.shape[-2], pixels.shape[-1])).long()]
        clusters = cluster_map(extractor, probes.to(ranks.device), pixels, crf=crf)
        histogram.update(joint_histogram(clusters, truth).to(ranks.device))
    pairs, _ = histogram.compute()
    return hungarian_scores(pairs.cpu().numpy(), len(np.unique(of_label[: split.table.num_classes])), len(probes))


def as_json(scores: ClusterScores, names: Iterable[str]) -> dict[str, object]:
    """Scores as they are stored; NaN becomes null."""
    rows = [
        {"name": name, "iou": None if np.isnan(iou) else float(iou), "cluster": cluster}
        for name, iou, cluster in zip(names, scores.iou, scores.clusters, strict=True)
    ]
    return {"miou": scores.miou, "accuracy": scores.accuracy, "classes": rows}
