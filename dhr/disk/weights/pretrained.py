"""Models of transformers from their folder: weights that all fit, and no code but transformers' own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError

from dhr.core.errors import InputError
from dhr.disk.weights.model_folder import ModelFolder

UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, SafetensorError)
SHOWN = 6  # names of weights in a message


def read_layers(folder: ModelFolder, name: str) -> Any:
    """The model of a folder as a class of transformers, in float32, on the CPU, frozen, in eval mode.

    Raises:
        InputError: transformers cannot read it, or the weights do not fit.
    """
    weights = folder.weights
    model, found = _read(folder, name, use_safetensors=True, output_loading_info=True, dtype=torch.float32)
    wrong = sorted(found["missing_keys"]) + sorted(map(str, found["mismatched_keys"]))
    wrong += [name for name, value in model.state_dict().items() if not bool(torch.isfinite(value).all())]
    if wrong:
        raise InputError(
            f"{weights[0]}: {len(wrong)} weights are missing, of other shapes or not finite: {', '.join(wrong[:SHOWN])}"
            "; fetch or save the model again"
        )
    return model.requires_grad_(False).eval()


def read_beside(folder: ModelFolder, name: str) -> Any:
    """The tokenizer or image processor that lies beside a model, as a class of transformers.

    Raises:
        InputError: it is missing, or transformers cannot read it.
    """
    if "Tokenizer" in name:
        folder.check_tokenizer()
    else:
        folder.check_processor()
    return _read(folder, name)


def _read(folder: ModelFolder, name: str, **options: Any) -> Any:
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    with _quiet():
        try:
            return getattr(transformers, name).from_pretrained(
                folder.path, local_files_only=True, trust_remote_code=False, **options
            )
        except (*UNREADABLE, StrictDataclassError) as error:
            said = (str(error) or type(error).__name__).strip().splitlines()[0]
            cure = "fetch or save the folder again"
            raise InputError(f"{folder.path}: transformers cannot read it ({said}); {cure}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and the table of transformers; what is wrong is said by us."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
