"""Weights by what a user names: a file, a folder that `dhr.export` wrote, or such a folder on the Hugging Face hub."""

import re
from pathlib import Path

from dhr.core.errors import InputError

HUB = "hf://"
FILE = "model.safetensors"
PROGRAM = ".onnx"  # of dhr.export: onnxruntime runs it
UNSAFE = ".pt2"  # of dhr.export too
PLACE = re.compile(rf"{HUB}(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def local_weights(place: str) -> Path:
    """The file of weights behind `place`; one on the hub is fetched, and nothing beside it.

    Args:
        place: a path, or hf://owner/name, or hf://owner/name@revision. Fetched files lie in the cache of
            huggingface_hub, which is asked first where there is no network.

    Raises:
        InputError: a program of torch.export; or the hub has no such file, or cannot be reached.
    """
    if not place.startswith(HUB):
        if Path(place).suffix == UNSAFE:
            cure = "use what format=safetensors or format=onnx writes, or the run, or see docs/export.md"
            raise InputError(f"weights: {place}: is not opened here, since torch might run code that is in it; {cure}")
        inside = Path(place) / FILE
        return inside if inside.is_file() else Path(place)
    found = PLACE.fullmatch(place)
    if found is None:
        raise InputError(f"weights: {place}: not a place on the hub; write hf://owner/name or hf://owner/name@revision")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(found["repository"], FILE, revision=found["revision"]))
    except LocalEntryNotFoundError:
        cure = f"fetch {FILE} of it where there is a network, and use weights=<file>, or unset HF_HUB_OFFLINE"
        raise InputError(f"weights: {place}: not fetched yet, and the hub cannot be reached; {cure}") from None
    except EntryNotFoundError:
        raise InputError(f"weights: {place}: has no {FILE}; python -m dhr.export makes a folder that has") from None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        cure = "look at the name, log in for what is private (hf auth login), or fetch it and use weights=<file>"
        raise InputError(f"weights: {place}: {said}; {cure}") from None
