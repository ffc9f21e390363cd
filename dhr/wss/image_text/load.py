"""An image-text model from its folder: weights that all fit, and no code but transformers' own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from dhr.core.errors import InputError
from dhr.network.precision import Precision
from dhr.wss.image_text.families import Clip, NaFlexSiglip, Siglip, Tips
from dhr.wss.image_text.folder import PLACE, ModelFolder
from dhr.wss.image_text.model import ImageText, Through

FAMILIES: dict[str, tuple[str, Callable[..., ImageText]]] = {  # model_type -> transformers' class, and ours around it
    "clip": ("CLIPModel", Clip),
    "siglip": ("SiglipModel", Siglip),
    "siglip2": ("Siglip2Model", NaFlexSiglip),
    "tipsv2": ("Tipsv2Model", Tips),
}
UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, SafetensorError)
SHOWN = 6  # names of weights in a message


def load_model(folder: ModelFolder, *, through: Through, precision: Precision) -> ImageText:
    """The model of a folder, on the CPU.

    Raises:
        InputError: another kind of model, something is missing in the folder, or the weights do not fit.
    """
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    name, family = FAMILIES.get(folder.kind, ("", Clip))
    layers = getattr(transformers, name, None)
    if layers is None:
        allowed = ", ".join(kind for kind, (layers_name, _) in FAMILIES.items() if hasattr(transformers, layers_name))
        raise InputError(
            f"{folder.path}: model_type: {folder.kind}: no image-text model that is known here; known: {allowed}; "
            f"use {PLACE}.name=openai/clip-vit-base-patch16"
        )
    weights = folder.weights
    folder.check_tokenizer()
    colours = folder.colours()
    with _quiet():
        try:
            model, found = layers.from_pretrained(
                folder.path, use_safetensors=True, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder.path, local_files_only=True, trust_remote_code=False
            )
        except (*UNREADABLE, StrictDataclassError) as error:
            cure = "fetch or save the folder again"
            raise InputError(f"{folder.path}: transformers cannot read it ({_first_line(error)}); {cure}") from error
    wrong = sorted(found["missing_keys"]) + sorted(map(str, found["mismatched_keys"]))
    wrong += [name for name, value in model.state_dict().items() if not bool(torch.isfinite(value).all())]
    if wrong:
        raise InputError(
            f"{weights[0]}: {len(wrong)} weights are missing, of other shapes or not finite: {', '.join(wrong[:SHOWN])}"
            "; fetch or save the model again"
        )
    return family(model, tokenizer, colours, through=through, precision=precision)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


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
