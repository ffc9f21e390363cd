"""Slow and obvious versions of the formulas, in plain loops over float64, to hold the fast ones against."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

IGNORE = 255
EPSILON, ITERATIONS = 0.1, 100
Array = np.ndarray


def places(size: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((y, x) for y in range(size[0]) for x in range(size[1]))


def cosine(a: Array, b: Array) -> float:
    lengths = math.sqrt(sum(v * v for v in a)) * math.sqrt(sum(v * v for v in b))
    return sum(v * w for v, w in zip(a, b, strict=True)) / lengths if lengths else 0.0


def unit_range(values: Array, where: Array) -> Array:
    """Min-max over the cells `where` of a (h,w) map: 1 on them where it is constant, 0 off them."""
    result = np.zeros(values.shape)
    inside = [place for place in places(values.shape) if where[place]]
    low, high = min((values[p] for p in inside), default=0.0), max((values[p] for p in inside), default=0.0)
    constant = high - low <= 1e-5 * max(abs(high), abs(low))
    for place in inside:
        result[place] = 1.0 if constant else (values[place] - low) / (high - low)
    return result


def bilinear(values: Array, size: Sequence[int]) -> Array:
    """(h,w) resized to `size`: linear between the centres of the cells, constant beyond the outer ones."""
    height, width = values.shape
    result = np.empty(size)
    for y, x in places(size):
        row = min(max((y + 0.5) * height / size[0] - 0.5, 0.0), height - 1.0)
        column = min(max((x + 0.5) * width / size[1] - 0.5, 0.0), width - 1.0)
        top, left = int(row), int(column)
        below, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = values[top, left] * (left + 1 - column) + values[top, right] * (column - left)
        lower = values[below, left] * (left + 1 - column) + values[below, right] * (column - left)
        result[y, x] = upper * (top + 1 - row) + lower * (row - top)
    return result


def block(place: tuple[int, int], size: Sequence[int], grid: Sequence[int]) -> tuple[slice, slice]:
    """The pixels of a canvas of `size` that a cell of `grid` covers, partly covered ones included."""
    (i, j), (height, width), (h, w) = place, size, grid
    return (
        slice(i * height // h, -(-(i + 1) * height // h)),
        slice(j * width // w, -(-(j + 1) * width // w)),
    )


def area_shares(pixels: Array, grid: Sequence[int]) -> Array:
    """(H,W) bool -> (h,w): the share of a cell's pixels that are true."""
    result = np.empty(grid)
    for place in places(grid):
        covered = pixels[block(place, pixels.shape, grid)].flatten().tolist()
        result[place] = sum(covered) / len(covered)
    return result


def touched(valid: Array, grid: Sequence[int]) -> Array:
    """(h,w) bool: cells that cover a valid pixel."""
    return area_shares(valid, grid) > 0


def centred(valid: Array, grid: Sequence[int]) -> Array:
    """(h,w) bool: cells whose centre lies on a valid pixel."""
    result = np.zeros(grid, bool)
    for i, j in places(grid):
        row, column = (i + 0.5) * valid.shape[0] / grid[0], (j + 0.5) * valid.shape[1] / grid[1]
        result[i, j] = valid[int(row), int(column)]
    return result


def sinkhorn(scores: Array, mass: Sequence[float], *, epsilon: float, iterations: int) -> Array:
    """Plan of M classes with `mass` and N equally heavy cells, (M,N): the cells are met first, then the classes."""
    count, size = scores.shape
    kernel = [[math.exp((scores[m, n] - 1.0) / epsilon) for n in range(size)] for m in range(count)]
    by_class, by_cell = [1.0] * count, [1.0] * size
    for _ in range(iterations):
        for n in range(size):
            by_cell[n] = 1.0 / size / sum(kernel[m][n] * by_class[m] for m in range(count))
        for m in range(count):
            by_class[m] = mass[m] / sum(mass) / sum(kernel[m][n] * by_cell[n] for n in range(size))
    return np.array([[by_class[m] * kernel[m][n] * by_cell[n] for n in range(size)] for m in range(count)])


def transport(scores: Array, cells: Array, mass: Sequence[float] | None = None) -> Array:
    """f_OT of (M,h,w) maps over `cells`; 1 for a class that is alone."""
    plan = np.zeros(scores.shape)
    if len(scores) > 1 and cells.any():
        weights = [1.0] * len(scores) if mass is None else list(mass)
        plan[:, cells] = sinkhorn(scores[:, cells], weights, epsilon=EPSILON, iterations=ITERATIONS)
    return np.array([unit_range(one, cells) for one in plan]).reshape(scores.shape)


def pure_shares(pixels: Array, grid: Sequence[int], *, least: float) -> Array:
    """Area shares of the cells in which the class has at least `least`; of all its cells where there is none."""
    shares = area_shares(pixels, grid)
    if not any(shares[cell] >= least for cell in places(grid)):
        return shares
    for cell in places(grid):
        shares[cell] = shares[cell] if shares[cell] >= least else 0.0
    return shares


def direction(features: Array, share: Array) -> Array:
    """Mean of the features of a class, each made one long before; zeros without a cell."""
    total, weight = np.zeros(len(features)), 0.0
    for cell in places(share.shape):
        vector = features[(slice(None), *cell)]
        total += share[cell] * vector / (np.sqrt((vector**2).sum()) or 1.0)
        weight += share[cell]
    return total / max(weight, 1e-12)


def prototype(features: Array, share: Array) -> Array:
    """Mean of the features (D,h,w), each cell weighted with the share (h,w) that the class has of it."""
    total, weight = np.zeros(len(features)), 0.0
    for place in places(share.shape):
        total += features[:, place[0], place[1]] * share[place]
        weight += share[place]
    return total / weight if weight else total


def similarity(features: Array, centre: Array, cells: Array) -> Array:
    """Cosine of every cell's feature to a prototype, min-max scaled: (h,w)."""
    values = np.zeros(cells.shape)
    for i, j in places(cells.shape):
        values[i, j] = cosine(features[:, i, j], centre)
    return unit_range(values, cells)


def components(close: Array) -> list[set[int]]:
    """Connected components of two or more nodes of a symmetric (M,M) bool matrix, by flood fill."""
    found: list[set[int]] = []
    for start in range(len(close)):
        if any(start in component for component in found):
            continue
        component, border = {start}, [start]
        while border:
            node = border.pop()
            near = {other for other in range(len(close)) if close[node, other]} - component
            component |= near
            border += near
        found.append(component)
    return [component for component in found if len(component) > 1]


@dataclass(frozen=True)
class Crop:
    """One crop: tags (T) bool, cams (T,h,w), uss c4 c5 (D,h,w), wss_mask (H,W), valid (H,W) bool; all of its image?

    logits (K,h,w) are what the network says.
    """

    tags: Array
    cams: Array
    uss: Array
    c4: Array
    c5: Array
    wss_mask: Array
    valid: Array
    logits: Array
    whole: bool = False


@dataclass(frozen=True)
class Labels:
    """What one crop becomes: masks (H,W), classes in the seeded mask, one heat map (h,w) for each before the end."""

    seeds: Array
    classes: list[int]
    heatmaps: Array
    pseudo_mask: Array


def believed_tags(crop: Crop, first_tag: int) -> list[int]:
    """All tags of a whole image; else those with enough pixels in the WSS mask, or a positive mean CAM over the box."""
    on, found = touched(crop.valid, crop.cams.shape[1:]), []
    for tag in np.flatnonzero(crop.tags).tolist():
        pixels = sum(bool(crop.valid[p]) and crop.wss_mask[p] == tag + first_tag for p in places(crop.valid.shape))
        shown = pixels >= 4 and pixels >= crop.valid.sum() / 4000
        if crop.whole or shown or (on.any() and crop.cams[tag][on].mean() > 0):
            found.append(tag)
    return found


def tag_scores(crop: Crop, tags: list[int]) -> Array:
    """CAMs of the tags, positive part by its maximum, times f_OT where two or more compete, at the crop's size."""
    on = touched(crop.valid, crop.cams.shape[1:])
    cams = np.array([np.maximum(crop.cams[tag], 0) * on for tag in tags])
    cams = np.array([cam / cam.max() if cam.max() > 0 else cam for cam in cams])
    if len(tags) >= 2:
        cams = cams * transport(cams, on)
    known = bilinear(on.astype(float), crop.valid.shape)
    return np.array([bilinear(cam, crop.valid.shape) / np.maximum(known, 1e-9) for cam in cams])


def seeded(crop: Crop, tags: list[int], first_tag: int, *, threshold: float = 0.5) -> Array:
    """The WSS mask, overwritten where a tag wins against the others and "none of these" with enough probability."""
    result = crop.wss_mask.copy()
    if not tags:
        return result
    scores = tag_scores(crop, tags)
    for y, x in places(result.shape):
        rivals = [1 - scores[:, y, x].max(), *scores[:, y, x]]
        winner = int(np.argmax(rivals))
        if crop.valid[y, x] and winner > 0 and rivals[winner] / sum(rivals) > threshold:
            result[y, x] = tags[winner - 1] + first_tag
    return result


def answered(crop: Crop, tags: list[int], first_tag: int, *, share: float) -> Array:
    """Seeds from the network's answer among `tags` and the background; classes that it lost keep their WSS pixels."""
    classes = ([0] if first_tag else []) + [tag + first_tag for tag in tags]
    seeds = crop.wss_mask.copy()
    if not classes:
        return seeds
    odds = np.exp(crop.logits - crop.logits.max(0))
    chances = [bilinear(odds[number] / odds.sum(0), crop.valid.shape) for number in classes]
    for pixel in places(crop.valid.shape):
        if crop.valid[pixel]:
            seeds[pixel] = classes[int(np.argmax([chance[pixel] for chance in chances]))]
    answer = seeds.copy()
    for number in classes:
        given = (crop.wss_mask == number) & crop.valid
        if ((answer == number) & crop.valid).sum() < share * given.sum():
            seeds[given] = number
    return seeds


def own_similarity(crop: Crop, shares: list[Array], cells: Array) -> Array:
    """Likeness in C4 and in C5 on the USS grid, averaged and min-max scaled: (M,h,w)."""
    grid = cells.shape
    wide = [np.array([bilinear(channel, grid) for channel in features]) for features in (crop.c4, crop.c5)]
    maps = [[similarity(features, prototype(features, share), cells) for features in wide] for share in shares]
    return np.array([unit_range((c4 + c5) / 2, cells) for c4, c5 in maps])


def relabel(crop: Crop, *, first_tag: int, tau: float = 0.8, power: float = 0.0) -> Labels:
    """DHR of one crop without a CRF: seeds, inter-class, intra-class, final transport by area ** power, argmax."""
    grid = crop.uss.shape[1:]
    cells = centred(crop.valid, grid)
    tags = believed_tags(crop, first_tag)
    seeds = seeded(crop, tags, first_tag)
    known = ([0] if first_tag else []) + [tag + first_tag for tag in tags]
    owned = {label: area_shares((seeds == label) & crop.valid, grid) * cells for label in known}
    classes = [label for label in known if owned[label].any()]
    shares = [owned[label] for label in classes]
    centres = [prototype(crop.uss, share) for share in shares]
    heatmaps = np.array([similarity(crop.uss, centre, cells) for centre in centres]).reshape(-1, *grid)
    close = np.array([[cosine(a, b) > tau for b in centres] for a in centres]).reshape(len(centres), len(centres))
    for group in map(sorted, components(close)):
        own = own_similarity(crop, shares, cells)
        heatmaps[group] *= transport(own[group], cells)
    mass = [share.sum() ** power for share in shares]
    return Labels(seeds, classes, heatmaps, final_labels(crop, classes, heatmaps, mass))


def final_labels(crop: Crop, classes: list[int], heatmaps: Array, mass: list[float]) -> Array:
    """min-max(H * f_OT(H)), up-sampled; the largest wins inside the valid box, IGNORE elsewhere."""
    result, cells = np.full(crop.valid.shape, IGNORE), centred(crop.valid, crop.uss.shape[1:])
    if not classes:
        return result
    moved = transport(heatmaps, cells, mass)
    last = [unit_range(heat * share, cells) for heat, share in zip(heatmaps, moved, strict=True)]
    wide = np.array([bilinear(one, crop.valid.shape) for one in last])
    for y, x in places(result.shape):
        if crop.valid[y, x]:
            result[y, x] = classes[int(np.argmax(wide[:, y, x]))]
    return result


def scores(pairs: Sequence[tuple[Array, Array]], count: int) -> dict[str, Array]:
    """IoU, FPR and FNR of every class, NaN for classes that occur nowhere, of (prediction, truth) pairs."""
    prediction = np.concatenate([p[t != IGNORE] for p, t in pairs])
    truth = np.concatenate([t[t != IGNORE] for _, t in pairs])
    rows: dict[str, list[float]] = {"iou": [], "fpr": [], "fnr": []}
    for label in range(count):
        union = np.sum((prediction == label) | (truth == label)) or np.nan
        rows["iou"].append(np.sum((prediction == label) & (truth == label)) / union)
        rows["fpr"].append(np.sum((prediction == label) & (truth != label)) / union)
        rows["fnr"].append(np.sum((prediction != label) & (truth == label)) / union)
    return {name: np.array(values) for name, values in rows.items()}
