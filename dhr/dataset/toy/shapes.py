"""Outlines and surface textures of the toy set's objects.

Outlines are signed distances in pixels, negative inside; they take coordinates (H,W) relative to the object's centre
in its own rotation, and the radius in pixels. Corners may be rounded and distances far away approximate.
"""

from collections.abc import Callable

import numpy as np

Outline = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
Texture = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def disc(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """A filled circle."""
    return np.hypot(x, y) - radius


def square(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """A square with slightly rounded corners."""
    return _box(x, y, 0.76 * radius, 0.76 * radius) - 0.08 * radius


def cross(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """A plus sign."""
    return np.minimum(_box(x, y, radius, 0.5 * radius), _box(x, y, 0.5 * radius, radius))


def triangle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """An equilateral triangle."""
    sides = [x * np.sin(turn) + y * np.cos(turn) for turn in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
    return np.maximum.reduce(sides) - 0.62 * radius


def ring(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """A circle with a hole through which the background shows."""
    return np.abs(np.hypot(x, y) - 0.65 * radius) - 0.4 * radius


def star(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """A star with five points, one of them upwards."""
    tenth = np.pi / 5
    from_tip = np.abs((np.arctan2(x, -y) + tenth) % (2 * tenth) - tenth)
    tip, notch_along, notch_across = 1.1 * radius, 0.7 * radius * np.cos(tenth), 0.7 * radius * np.sin(tenth)
    along, across = np.hypot(x, y) * np.cos(from_tip), np.hypot(x, y) * np.sin(from_tip)
    normal = np.array([notch_across, tip - notch_along])
    return ((along - tip) * normal[0] + across * normal[1]) / np.hypot(*normal)


def flower(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """A round shape with seven petals."""
    return (np.hypot(x, y) - radius * (0.9 + 0.1 * np.cos(7 * np.arctan2(y, x)))) * 0.9


def bar(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """A straight bar, more than twice as long as wide."""
    return _box(x, y, 1.2 * radius, 0.55 * radius)


def crescent(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """A half moon."""
    return np.maximum(np.hypot(x, y) - 1.05 * radius, 0.6 * radius - np.hypot(x - 0.8 * radius, y))


def stripes(x: np.ndarray, _: np.ndarray, period: float) -> np.ndarray:
    """Parallel stripes, values in [-1, 1]."""
    return np.sin(2 * np.pi * x / period)


def checks(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    """A soft chequered pattern, values in [-1, 1]."""
    return np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)


def ripples(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    """Concentric waves around a point well outside most objects, values in [-1, 1]."""
    return np.sin(2 * np.pi * np.hypot(x - 4 * period, y - 2 * period) / period)


def _box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


OUTLINES: dict[str, Outline] = {
    "disc": disc, "square": square, "cross": cross, "triangle": triangle, "ring": ring,
    "star": star, "flower": flower, "bar": bar, "crescent": crescent,
}  # fmt: skip
