"""Loops that are compiled when they are called first."""

from collections.abc import Callable
from typing import Any

from numba import njit

FAST = frozenset({"contract", "reassoc", "nsz", "arcp"})

Loop = Callable[..., Any]


def compiled(*, fast: bool) -> Callable[[Loop], Loop]:
    """Compiles a function at its first call, and keeps the result on the disk where a folder can be written.

    It releases the lock of the interpreter. A compiled function calls only functions of its own file: to decide
    whether its cached code is up to date, numba looks at no other file.

    Args:
        fast: sums may be reordered and fused; false where a rounding decides, or where nothing is rounded.
    """

    def compile_(function: Loop) -> Loop:
        math: Any = set(FAST) if fast else False
        try:
            return njit(nogil=True, fastmath=math, cache=True)(function)
        except RuntimeError:  # neither the folder of this file nor that of the user can be written
            return njit(nogil=True, fastmath=math)(function)

    return compile_
