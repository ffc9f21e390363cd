"""Pictures of unsupervised features: similar colours for similar features, and the clusters that they form."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.cluster.vq import kmeans2
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.numerics import unit_vectors
from dhr.disk.layout import probes_path

GREY = 128  # of a map without any difference
SHOWN = (1.0, 99.0)  # percentiles that become 0 and 255: a few outliers must not darken all other cells
CLUSTERS = 8  # without probes
GOLDEN = 0.618034  # turns of the colour circle from one cluster to the next, so that a few clusters differ clearly


def feature_colours(maps: Sequence[Tensor]) -> list[np.ndarray]:
    """PCA to RGB: the three directions in which the features of all maps together differ most.

    Features are scaled to unit length, because only their cosine counts. Similar colours mean similar features, also
    in two maps of one call. The sign of a direction is that in which its largest entry is positive.

    Args:
        maps: (D,h,w) each, of one D.

    Returns:
        (h,w,3) uint8 each. Where there are fewer than three directions (too few channels, or too few that vary), the
        missing channels are GREY; all three are where nothing differs.

    >>> features = torch.tensor([[[1.0, 0.6, 2.0]], [[0.0, 0.8, 0.0]]])  # (2,1,3): the third cell is like the first
    >>> feature_colours([features])[0].tolist()
    [[[0, 128, 128], [255, 128, 128], [0, 128, 128]]]
    """
    cells = torch.cat([unit_vectors(features.double().flatten(1), dim=0) for features in maps], 1)
    centred = cells - cells.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(centred @ centred.T / cells.shape[1])
    first = vectors.flip(1)[:, :3]
    components = (centred.T @ (first * first.gather(0, first.abs().argmax(0, keepdim=True)).sign())).numpy()
    colours = np.full((len(components), 3), GREY, np.uint8)
    for channel, component in enumerate(components.T):
        if values[-1 - channel] > 1e-10:
            low, high = np.percentile(component, SHOWN)
            if high <= low:  # nearly all cells are the same: the others decide
                low, high = component.min(), component.max()
            colours[:, channel] = (255 * ((component - low) / (high - low)).clip(0, 1)).round().astype(np.uint8)
    return _cut(colours, maps)


def cluster_maps(maps: Sequence[Tensor], probes: Tensor | None) -> list[np.ndarray]:
    """The cluster of every cell.

    Args:
        maps: (D,h,w) each, of one D.
        probes: (C,D) cluster probes of the model: each cell belongs to that of the largest cosine. None: k-means with a
            fixed seed over the cells of all maps together, so that a cluster is the same thing in two maps of a call.

    Returns:
        (h,w) int64 each, in 0..C-1.

    >>> features = torch.tensor([[[1.0, 0.2, 5.0]], [[0.1, 1.0, 4.0]]])
    >>> cluster_maps([features], probes=torch.tensor([[0.0, 3.0], [1.0, 0.0]]))[0].tolist()
    [[1, 0, 1]]
    """
    cells = torch.cat([unit_vectors(features.float().flatten(1), dim=0) for features in maps], 1)
    if probes is not None:
        clusters = (unit_vectors(probes.float(), dim=1) @ cells).argmax(0).numpy()
    else:
        count = min(CLUSTERS, len(torch.unique(cells, dim=1).T))
        _, clusters = kmeans2(cells.T.double().numpy(), count, minit="++", rng=np.random.default_rng(0))
    return _cut(clusters.astype(np.int64), maps)


def cluster_colours(clusters: np.ndarray) -> np.ndarray:
    """(h,w) cluster numbers as (h,w,3) uint8 RGB, a colour for each number, always the same."""
    palette = [colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.8, 0.98 - 0.35 * (number % 3) / 2) for number in range(256)]
    colours: np.ndarray = (np.array(palette) * 255).round().astype(np.uint8)[clusters % 256]
    return colours


def over_image(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h,w,3) cells at the `size` (height, width) of the image, each cell a block, so that the grid can be seen.

    >>> over_image(np.arange(2).reshape(1, 2, 1).repeat(3, 2), (2, 5))[:, :, 0].tolist()
    [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    """
    rows, columns = (
        np.minimum(np.arange(side) * cells // side, cells - 1)
        for side, cells in zip(size, picture.shape[:2], strict=True)
    )
    return np.ascontiguousarray(picture[rows[:, None], columns[None]])


def feature_pictures(
    maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], probes: Tensor | None
) -> list[dict[str, np.ndarray]]:
    """The pictures `features` and `clusters`, (H,W,3) uint8 at the size of its image, of each map."""
    colours, clusters = feature_colours(maps), cluster_maps(maps, probes)
    return [
        {"features": over_image(colour, size), "clusters": over_image(cluster_colours(cluster), size)}
        for colour, cluster, size in zip(colours, clusters, sizes, strict=True)
    ]


def probes_beside(weights: str | None) -> Tensor | None:
    """Cluster probes (C,D) that train_uss stored beside the weights of its head; None where there are none.

    Raises:
        InputError: the file holds something else.
    """
    if weights is None:
        return None
    path = probes_path(Path(weights))
    if not path.exists():
        return None
    try:
        probes = load_file(path).get("probes")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: unreadable ({type(error).__name__}); delete it, or run dhr.train_uss again"
        ) from None
    if probes is None or probes.ndim != 2:
        raise InputError(f"{path}: holds no probes (C,D); delete it, or run dhr.train_uss again")
    return probes


def _cut(flat: np.ndarray, maps: Sequence[Tensor]) -> list[np.ndarray]:
    """Splits the values of all cells, map after map, into arrays of the (h,w) of each map."""
    bounds = np.cumsum([features[0].numel() for features in maps])[:-1]
    shapes = [tuple(features.shape[1:]) for features in maps]
    return [part.reshape(*shape, *flat.shape[1:]) for part, shape in zip(np.split(flat, bounds), shapes, strict=True)]
