"""Compiled loops that count what one mask has in common with its truth.

They release the lock of the interpreter, so that threads count side by side. Masks are flat uint8, row by row; N is at
least the number of their pixels, and a multiple of WORD.
"""

import numpy as np

from dhr.core.labels import IGNORE
from dhr.runtime.compiled import compiled

WORD = 8  # pixels that are compared at once
EVERY = np.uint64(0x0101010101010101)  # times a label: a word of it

Array = np.ndarray


@compiled(fast=False)
def hide(truth: Array, prediction: Array) -> None:
    """Makes a prediction IGNORE where the truth is: these pixels belong to no class in either. Both are flat."""
    for place in range(len(truth)):
        prediction[place] = IGNORE if truth[place] == IGNORE else prediction[place]


@compiled(fast=False)
def mark_band(labels: Array, size: tuple[int, int], reach: int, spare: Array, band: Array) -> None:
    """Sets band (N) to 1 where the window of `reach` pixels around a pixel holds another label or leaves the image.

    Where neighbours differ is spread along the rows by shifts that double, and down the columns by counting.

    Args:
        labels: (N), row by row.
        size: height and width of the image.
        reach: at least 1.
        spare: (2,N) uint8 to work in.
        band: (N) uint8.
    """
    height, width = size
    window = 2 * reach  # squares of 2 x 2 pixels along one side of it
    inner = width - window  # columns whose window lies in the image
    band[: height * width] = 1
    if inner <= 0 or height <= window:
        return
    # At the end of a row these reach into the next one; no window that lies in the image looks there.
    squares = (height - 1) * width - 1
    differ(labels, labels[1:], labels[width:], labels[width + 1 :], spare[0, :squares])
    now, done = 0, 1
    while done < window:
        step = min(done, window - done)
        squares -= step
        join(spare[now], spare[now, step:], spare[1 - now, :squares])
        now, done = 1 - now, done + step
    seen = np.zeros(inner, np.uint16)
    for row in range(height - 1):
        start = row * width
        add(seen, spare[now, start : start + inner])
        if row >= window - 1:
            middle, first = (row - reach + 1) * width + reach, (row - window + 1) * width
            leave(seen, spare[now, first : first + inner], band[middle : middle + inner])


@compiled(fast=False)
def differ(here: Array, right: Array, below: Array, across: Array, mixed: Array) -> None:
    """Where four labels are not the same; as many as `mixed` has room for."""
    for place in range(len(mixed)):
        label = here[place]
        mixed[place] = (label != right[place]) | (label != below[place]) | (label != across[place])


@compiled(fast=False)
def join(one: Array, other: Array, either: Array) -> None:
    """Where one or the other is set; as many as `either` has room for."""
    for place in range(len(either)):
        either[place] = one[place] | other[place]


@compiled(fast=False)
def add(seen: Array, row: Array) -> None:
    """Adds a row to the counts of the columns."""
    for column in range(len(seen)):
        seen[column] += row[column]


@compiled(fast=False)
def leave(seen: Array, row: Array, inside: Array) -> None:
    """Sets `inside` where a column has been counted, and takes a row away from the counts."""
    for column in range(len(seen)):
        inside[column] = seen[column] != 0
        seen[column] -= row[column]


@compiled(fast=False)
def count_runs(maps: Array, size: int, pairs: Array, boundary: Array, image: Array, runs: Array) -> int:
    """Counts the pixels of an image from runs of equal truth, prediction and bands; adds to what is there.

    Args:
        maps: (4,N) uint8: truth, prediction, the band of the truth, that of the prediction.
        size: pixels of the image.
        pairs: (256,256) int64 joint histogram, rows truth.
        boundary: (3,256) int64 pixels in the band of the truth, of the prediction, and in both with one label.
        image: (3,256) int64 pixels of the truth, of the prediction, and where they have one label.
        runs: (4,N) int32 for first pixel, end, truth, and whether the prediction is the same.

    Returns:
        How many runs there are; those of IGNORE are left out.
    """
    words = maps.view(np.uint64)
    place = number = 0
    while place < size:
        truth, prediction, near, close = maps[0, place], maps[1, place], maps[2, place], maps[3, place]
        word, other, nears, closes = truth * EVERY, prediction * EVERY, near * EVERY, close * EVERY
        start = place
        place += 1
        while place < size:
            at = place // WORD
            if (
                at * WORD == place
                and words[0, at] == word
                and words[1, at] == other
                and words[2, at] == nears
                and words[3, at] == closes
            ):
                place += WORD
            elif (
                maps[0, place] == truth
                and maps[1, place] == prediction
                and maps[2, place] == near
                and maps[3, place] == close
            ):
                place += 1
            else:
                break
        place = min(place, size)
        if truth == IGNORE:
            continue
        length, same = place - start, truth == prediction
        pairs[truth, prediction] += length
        image[0, truth] += length
        image[1, prediction] += length
        image[2, truth] += length * same
        boundary[0, truth] += length * near
        boundary[1, prediction] += length * close
        boundary[2, truth] += length * (near & close & same)
        runs[0, number], runs[1, number], runs[2, number], runs[3, number] = start, place, truth, same
        number += 1
    return number


@compiled(fast=False)
def find_parts(runs: Array, number: int, width: int, first_tag: int, parts: Array) -> int:
    """Joins runs that differ in the prediction alone, and cuts them where rows end.

    Args:
        runs: (4,N), see `count_runs`.
        number: how many runs there are.
        width: columns of the image.
        first_tag: the first label that has objects.
        parts: (5,N) int32 for first pixel, end, label, pixels whose prediction is right, and a free row.

    Returns:
        How many parts there are.
    """
    count = 0
    for run in range(number):
        start, stop, label, same = runs[0, run], runs[1, run], runs[2, run], runs[3, run]
        if label < first_tag:
            continue
        while start < stop:
            end = min(stop, (start // width + 1) * width)
            last = count - 1
            if count == 0 or parts[1, last] != start or parts[2, last] != label or start % width == 0:
                parts[0, count], parts[2, count], parts[3, count] = start, label, 0
                last, count = count, count + 1
            parts[1, last] = end
            parts[3, last] += same * (end - start)
            start = end
    return count


@compiled(fast=False)
def root_of(parent: Array, part: int) -> int:
    """The first part of an object, by the parts that point to it; shortens the way there."""
    while parent[part] != part:
        parent[part] = parent[parent[part]]
        part = parent[part]
    return part


@compiled(fast=False)
def link_parts(parts: Array, number: int, width: int) -> None:
    """Makes each part point to a part of its object, the first of an object to itself.

    Parts of one label that touch, at corners too, are one object.

    Args:
        parts: (5,N), see `find_parts`; its last row is written.
        number: how many parts there are.
        width: columns of the image.
    """
    first, end, label, _, parent = parts
    low = 0
    for part in range(number):
        parent[part] = part
        column, stop = first[part] % width, (end[part] - 1) % width + 1
        begin, finish = first[part] - width - (column > 0), end[part] - width + (stop < width)
        while end[low] <= begin:
            low += 1
        other = low
        while other < part and first[other] < finish:
            if label[other] == label[part]:
                ours, theirs = root_of(parent, part), root_of(parent, other)
                parent[max(ours, theirs)] = min(ours, theirs)
            other += 1


@compiled(fast=False)
def count_objects(parts: Array, number: int, whole: int, below: Array, counts: Array) -> None:
    """Counts objects by their share of the image; adds to what is there.

    Args:
        parts: (5,N), see `find_parts` and `link_parts`.
        number: how many parts there are.
        whole: pixels of the image.
        below: (S) shares.
        counts: (S,4) int64: objects, their pixels, pixels whose prediction is right, objects half of which is right.
    """
    first, end, _, right, parent = parts
    pixels, hit = np.zeros(number, np.int64), np.zeros(number, np.int64)
    for part in range(number):
        root = root_of(parent, part)
        pixels[root] += end[part] - first[part]
        hit[root] += right[part]
    for part in range(number):
        for size in range(len(below)):
            if parent[part] == part and pixels[part] / whole < below[size]:
                counts[size, 0] += 1
                counts[size, 1] += pixels[part]
                counts[size, 2] += hit[part]
                counts[size, 3] += 2 * hit[part] >= pixels[part]
