"""DHR: weakly-supervised semantic segmentation by dual-features-driven hierarchical rebalancing.

`dhr.load` gives a trained network to programs, see docs/python.md. Importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .stage.loaded import Model, Prediction, load

__version__ = "0.1.0"
__all__ = ["Model", "Prediction", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """What programs use; it is imported when it is asked for."""
    if name in {"Model", "Prediction", "load"}:
        return getattr(import_module("dhr.stage.loaded"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
