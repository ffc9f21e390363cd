"""Pictures of the toy set: where its objects lie, and how they and the clutter behind them look."""

from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy import ndimage

from dhr.dataset.classes import ClassTable, load_classes
from dhr.dataset.toy.shapes import OUTLINES, Texture, checks, ripples, stripes

DRAWN_SIZE = 96  # image side that all sizes in pixels here are meant for
LARGE_RADII, SMALL_RADII = (20.0, 29.0), (10.5, 13.0)
LARGE_SHAPES = ("disc", "square", "flower")
TOUCHING = 0.7  # share of the small objects that are put on or beside another object
HIDDEN = 0.25  # share of an object that those in front of it may cover
TILT = 0.35  # largest turn of an object in radians: some shapes are told apart best when upright
RIMS = {"cross": 0.4, "ring": 0.4, "bar": 0.4}  # how much brighter the edge of an object is; all others' is darker
DARK_RIM = -0.3
GLOWING, GLOW = ("triangle", "star", "crescent"), 0.5  # shapes with a bright core, and how bright it is
ATTEMPTS = 12  # places tried for an object before the whole scene is laid out anew, a little smaller


@dataclass(frozen=True)
class Scene:
    """One generated picture: image (H,W,3) uint8 RGB, mask (H,W) uint8 class index without 255."""

    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Surface:
    """Look of one super-category: range of hues in turns, and texture."""

    hues: tuple[float, float]
    texture: Texture


@dataclass(frozen=True)
class Thing:
    """One placed object.

    Attributes:
        label: class index.
        radius: half of its extent in pixels.
        right: how far right of its centre every pixel (H,W) lies.
        down: how far below its centre every pixel (H,W) lies.
        distance: signed distance (H,W) in pixels to its outline, negative inside.
    """

    label: int
    radius: float
    right: np.ndarray
    down: np.ndarray
    distance: np.ndarray


SURFACES = {
    "ember": Surface((-0.02, 0.075), stripes),
    "moss": Surface((0.24, 0.40), checks),
    "azure": Surface((0.56, 0.72), ripples),
}


def make_scene(rng: np.random.Generator, image_size: int) -> Scene:
    """Draw `image_size` x `image_size` pixels with 2 to 4 objects of 2 to 4 different classes."""
    table = load_classes("toy")
    tags = rng.choice(np.arange(table.first_tag, table.num_classes), rng.integers(2, 5), replace=False)
    repeated = rng.choice(tags, 4 - len(tags))
    labels = [*tags, *(label for label in repeated if not _is_large(table, label))]
    labels.sort(key=lambda label: not _is_large(table, label))
    layouts = (_place(rng, table, labels, image_size, shrink=0.97**attempt) for attempt in count())
    things = next(layout for layout in layouts if layout)
    image = _background(rng, image_size)
    mask = np.zeros((image_size, image_size), np.uint8)
    for thing in things:
        family, shape = table.names[thing.label].split("_")
        light = _relief(thing, RIMS.get(shape, DARK_RIM), GLOW if shape in GLOWING else 0.0, image_size / DRAWN_SIZE)
        image = _paint(rng, image, thing, SURFACES[family], light)
        mask[thing.distance < 0] = thing.label
    image = ndimage.gaussian_filter(image, (rng.uniform(0.3, 0.6),) * 2 + (0,))
    image += rng.normal(0, rng.uniform(0.01, 0.03), image.shape)
    return Scene((image.clip(0, 1) * 255).round().astype(np.uint8), mask)


def _shape(table: ClassTable, label: int) -> str:
    return table.names[label].split("_")[1]


def _is_large(table: ClassTable, label: int) -> bool:
    return _shape(table, label) in LARGE_SHAPES


def _place(
    rng: np.random.Generator, table: ClassTable, labels: list[int], image_size: int, *, shrink: float
) -> list[Thing] | None:
    """Find a place for every label in turn, later ones in front; None where one finds no room."""
    things: list[Thing] = []
    for label in labels:
        large = _is_large(table, label)
        radius = rng.uniform(*(LARGE_RADII if large else SMALL_RADII)) * shrink * image_size / DRAWN_SIZE
        spots = _spots(rng, things, radius, image_size, large=large)
        outline = OUTLINES[_shape(table, label)]
        candidates = (
            Thing(label, radius, right, down, outline(*_turned(right, down, rng.uniform(-TILT, TILT)), radius))
            for right, down in (_offsets(spot, image_size) for spot in rng.permutation(spots)[:ATTEMPTS])
        )
        placed = next((thing for thing in candidates if _all_visible([*things, thing])), None)
        if placed is None:
            return None
        things.append(placed)
    return things


def _spots(rng: np.random.Generator, things: list[Thing], radius: float, image_size: int, *, large: bool) -> np.ndarray:
    """Return the centres (N,2), row and column, at which the next object may lie."""
    margin = int(radius * (0.7 if large else 1.0))
    spots = np.zeros((image_size, image_size), bool)
    spots[margin : image_size - margin, margin : image_size - margin] = True
    if things and not large:
        nearest = np.minimum.reduce([thing.distance for thing in things])
        spots &= nearest < 0.9 * radius if rng.random() < TOUCHING else nearest > radius + 3
    return np.argwhere(spots)


def _offsets(centre: np.ndarray, image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how far right and how far down every pixel (H,W) lies from a centre given as row and column."""
    down, right = np.mgrid[:image_size, :image_size] - centre[:, None, None]
    return right, down


def _turned(right: np.ndarray, down: np.ndarray, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotate coordinates by `turn` radians."""
    return right * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - right * np.sin(turn)


def _all_visible(things: list[Thing]) -> bool:
    """Whether every object shows most of itself behind those in front of it."""
    inside = np.stack([thing.distance < 0 for thing in things])
    in_front = np.logical_or.accumulate(inside[::-1])[::-1]
    hidden = (inside[:-1] & in_front[1:]).sum((1, 2))
    return bool((hidden <= HIDDEN * inside[:-1].sum((1, 2))).all())


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Convert a hue in turns, a saturation and a value in [0, 1] to RGB (3,) in [0, 1]."""
    wheel = np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return value * (1 - saturation + saturation * wheel.clip(0, 1))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Return smooth noise (H,W) of zero mean and unit deviation, with features about `scale` pixels wide."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), scale, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def _background(rng: np.random.Generator, image_size: int) -> np.ndarray:
    """Draw clutter, (H,W,3) in [0, 1]: a pale gradient, blotches, and strokes that may look like an object's colour."""
    colours = [_rgb(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.35, 0.85)) for _ in range(2)]
    blend = (0.5 + 0.35 * smooth_noise(rng, (image_size, image_size), image_size / 5)).clip(0, 1)[..., None]
    image = colours[0] * blend + colours[1] * (1 - blend)
    image += 0.04 * smooth_noise(rng, (image_size, image_size), rng.uniform(0.7, 2.5))[..., None]
    for _ in range(rng.integers(4, 10)):
        colour = _rgb(rng.random(), rng.uniform(0.1, 0.65), rng.uniform(0.25, 0.9))
        cover = rng.uniform(0.5, 1) * (0.5 - _stroke(rng, image_size)).clip(0, 1)
        image += (colour - image) * cover[..., None]
    return image


def _stroke(rng: np.random.Generator, image_size: int) -> np.ndarray:
    """Return the signed distance (H,W) in pixels to a bent stroke anywhere in the image."""
    scale = image_size / DRAWN_SIZE
    x, y = _turned(*_offsets(rng.uniform(0, image_size, 2), image_size), rng.uniform(0, np.pi))
    bent = y + rng.uniform(-0.01, 0.01) / scale * x**2
    return np.maximum(np.abs(bent) - scale * rng.uniform(0.4, 2.2), np.abs(x) - scale * rng.uniform(4, 30))


def _relief(thing: Thing, rim: float, core: float, scale: float) -> np.ndarray:
    """How much brighter (H,W) an object's edge and its innermost part are: the fine pattern that tells siblings."""
    edge = rim * np.exp(-(((thing.distance + 0.7 * scale) / (1.3 * scale)) ** 2))
    return edge + core * np.exp(-(((thing.distance - thing.distance.min()) / (0.3 * thing.radius)) ** 2))


def _paint(
    rng: np.random.Generator, image: np.ndarray, thing: Thing, surface: Surface, light: np.ndarray
) -> np.ndarray:
    """Put one object with its shadow over an image (H,W,3) in [0, 1]."""
    colour = _rgb(rng.uniform(*surface.hues), rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.95))
    scale = image.shape[0] / DRAWN_SIZE
    x, y = _turned(thing.right, thing.down, rng.uniform(0, 2 * np.pi))
    texture = rng.uniform(0.06, 0.14) * surface.texture(x, y, rng.uniform(4.5, 7) * scale)
    slope = -rng.uniform(0.05, 0.2) * (0.6 * thing.right + 0.8 * thing.down) / thing.radius
    shaded = colour * (1 + texture + slope + light)[..., None] + light.clip(0)[..., None] * 0.5
    shadow = ndimage.shift(thing.distance, (1.5 * scale, 1.2 * scale), order=1, mode="nearest")
    image = image * (1 - 0.35 * (0.5 - shadow / (2 * scale)).clip(0, 1))[..., None]
    return image + (shaded - image) * (0.5 - thing.distance).clip(0, 1)[..., None]
