"""An image-text model from its folder."""

from collections.abc import Callable

from dhr.core.errors import InputError
from dhr.core.ranges import Precision
from dhr.disk.weights.model_folder import ModelFolder
from dhr.disk.weights.pretrained import read_beside, read_layers
from dhr.wss.image_text.families import Clip, NaFlexSiglip, Siglip, Tips
from dhr.wss.image_text.model import PLACE, ImageText, Through

FAMILIES: dict[str, tuple[str, Callable[..., ImageText]]] = {  # model_type -> transformers' class, and ours around it
    "clip": ("CLIPModel", Clip),
    "siglip": ("SiglipModel", Siglip),
    "siglip2": ("Siglip2Model", NaFlexSiglip),
    "tipsv2": ("Tipsv2Model", Tips),
}


def load_model(folder: ModelFolder, *, through: Through, precision: Precision) -> ImageText:
    """The model of a folder, on the CPU.

    Raises:
        InputError: another kind of model, something is missing in the folder, or the weights do not fit.
    """
    import transformers

    name, family = FAMILIES.get(folder.kind, ("", Clip))
    if not hasattr(transformers, name):
        allowed = ", ".join(kind for kind, (layers_name, _) in FAMILIES.items() if hasattr(transformers, layers_name))
        raise InputError(
            f"{folder.path}: model_type: {folder.kind}: no image-text model that is known here; known: {allowed}; "
            f"use {PLACE}.name=openai/clip-vit-base-patch16"
        )
    colours = folder.colours()
    layers, tokenizer = read_layers(folder, name), read_beside(folder, "AutoTokenizer")
    return family(layers, tokenizer, colours, through=through, precision=precision)
