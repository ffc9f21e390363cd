"""What this machine has for the project, what is missing, and the command that installs or makes it."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dhr.config.outside import config_folders, outside_parts
from dhr.config.signatures import unreadable
from dhr.core.labels import OWN
from dhr.dataset.classes import load_classes
from dhr.disk.file_names import IMAGES
from dhr.training.wandb_account import wandb_mode

NEEDED = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "timm",
    "torchmetrics",
    "scipy",
    "rich",
)
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")
TEXT, GROUND = "python -m dhr.train_wss wss=text wss.recipe.name=", "python -m dhr.ground grounder="
ON_HUB = {  # what uses it, the command that fetches it, the key of a folder in its place
    "openai/clip-vit-base-patch16": ("wss=text", f"{TEXT}openai/clip-vit-base-patch16", "wss.recipe.name"),
    "google/siglip2-base-patch16-224": ("wss=text", f"{TEXT}google/siglip2-base-patch16-224", "wss.recipe.name"),
    "IDEA-Research/grounding-dino-base": ("dhr.ground", f"{GROUND}grounding_dino", "grounder.weights"),
    "facebook/sam-vit-huge": ("dhr.ground", f"{GROUND}grounding_dino", "grounder.segmenter.weights"),
    "facebook/sam3": ("dhr.ground", f"ask for it at its page, hf auth login, {GROUND}sam3", "grounder.weights"),
}
REINSTALL = "make setup, or: pip install -e ."


@dataclass(frozen=True)
class DoctorRow:
    """One row of the report; `cure` is a command or empty."""

    group: str
    name: str
    state: Literal["ok", "missing", "optional"]
    found: str
    cure: str = ""


@dataclass(frozen=True)
class Place:
    """Where a data set should lie.

    Attributes:
        splits: its folders to learn from and to validate on.
        is_drawn: whether prepare draws it, so that it needs no download.
    """

    name: str
    folder: str
    classes: str
    splits: tuple[str, ...]
    is_drawn: bool


def findings(data: Path, weights: Path, places: Mapping[str, Place]) -> Iterator[DoctorRow]:
    """All rows of the report, in order.

    Args:
        data: folder of all data sets.
        weights: folder of weights brought by the user.
        places: the known data sets.
    """
    yield DoctorRow("software", "python", "ok", platform.python_version())
    for package in NEEDED:
        version = _version(package)
        state: Literal["ok", "missing"] = "ok" if version else "missing"
        yield DoctorRow("software", package, state, version or "not installed", "" if version else REINSTALL)
    yield from _device()
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        cure = "pip install pydensecrf2 (needs a C++ compiler), or: crf=none"
        yield DoctorRow("parts", "pydensecrf", "optional", f"not usable: {error}", cure)
    else:
        yield DoctorRow("parts", "pydensecrf", "ok", Path(densecrf.__file__).name)
    yield _wandb()
    yield from declared_parts()
    from huggingface_hub.constants import HF_HUB_CACHE  # timm's, wherever the environment says it is

    cache = Path(HF_HUB_CACHE)
    for name in BACKBONES:
        cached = sorted(cache.glob(f"models--timm--{name}.*"))
        found = cached[0].name if cached else "not here; fetched at first use, or bring a file"
        fetch = f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\", or: backbone.weights=<file>"
        yield DoctorRow("weights", f"{name} (ImageNet)", "ok" if cached else "optional", found, "" if cached else fetch)
    for name, (use, command, key) in ON_HUB.items():
        here = [*(cache / f"models--{name.replace('/', '--')}").glob("snapshots/*/model*.safetensors")]
        found = here[0].parent.name if here else "not here; fetched at first use, or bring a folder"
        fetch = "" if here else f"{command}, or: {key}=<folder>"
        yield DoctorRow("weights", f"{name} ({use})", "ok" if here else "optional", found, fetch)
    files = sorted(path.name for path in weights.glob("*") if path.is_file())
    yield DoctorRow("weights", str(weights), "ok" if files else "optional", ", ".join(files) or "no file")
    for place in places.values():
        yield from _dataset(data, place)


def declared_parts() -> Iterator[DoctorRow]:
    """Parts and folders of YAML files that other installed packages declare, and why some are refused."""
    for part in outside_parts():
        problem = part.problem or unreadable(part.target)
        found = part.package if problem is None else f"{part.package}, refused: {problem}"
        cure = "" if problem is None else f"correct or uninstall {part.package}"
        yield DoctorRow("parts", part.declared, "ok" if problem is None else "optional", found, cure)
    for declared, folder in config_folders():
        found = "no such folder in its package" if folder is None else str(folder)
        cure = "" if folder is not None else "correct the entry point, or uninstall its package"
        yield DoctorRow("parts", declared, "ok" if folder is not None else "optional", found, cure)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> Iterator[DoctorRow]:
    yield DoctorRow("machine", "CPU cores", "ok", str(os.cpu_count()))
    try:
        import torch
    except (ImportError, RuntimeError, OSError) as error:
        yield DoctorRow("machine", "GPU", "missing", f"torch does not start: {error}", REINSTALL)
        return
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        yield DoctorRow("machine", f"GPU {number}", "ok", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch is for CPU only"
        cure = "nvidia-smi shows whether the driver works" if torch.version.cuda else "pip install torch torchvision"
        yield DoctorRow("machine", "GPU", "optional", f"none; {built}", cure)


def _wandb() -> DoctorRow:
    version = _version("wandb")
    if version is None:
        return DoctorRow(
            "parts", "wandb", "optional", "not installed; metrics.csv is always written", "pip install wandb"
        )
    try:
        mode = wandb_mode("auto")
    except ValueError as error:
        found = f"{version}, its settings are wrong: {' '.join(str(error).split())}"
        return DoctorRow(
            "parts", "wandb", "optional", found, "correct WANDB_* in the environment, or its settings file"
        )
    if mode == "offline":
        found = f"{version}, offline or without a key: logger=wandb writes offline"
        return DoctorRow("parts", "wandb", "optional", found, "wandb login, wandb online")
    return DoctorRow("parts", "wandb", "ok", version if mode == "online" else f"{version}, disabled")


def _dataset(data: Path, place: Place) -> Iterator[DoctorRow]:
    sizes: Mapping[str, int] = {} if place.classes == OWN else load_classes(place.classes).sizes
    for split in place.splits:
        folder, published = data / place.folder / split, sizes.get(split)
        images = _count(folder / "image", IMAGES)
        given = "" if place.is_drawn else " source=<its download>"
        given = " images=<folder> tags=<file>" if place.classes == OWN else given
        cure = f"python -m dhr.prepare dataset={place.name}{given}"
        if images == 0:
            yield DoctorRow(place.name, split, "missing", f"no images in {folder / 'image'}", cure)
            continue
        count, tags = _count(folder / "mask", (".png",)), _count(folder / "xml", (".xml",))
        found = f"{images} images, {count} masks, {tags} xml" + (f"; published {published}" if published else "")
        is_short = published is not None and images < published
        yield DoctorRow(place.name, split, "missing" if is_short else "ok", found, cure if is_short else "")
    masks = sorted(path.name for path in (data / "WSS" / place.folder).glob("*") if path.is_dir())
    cure = "" if masks else f"python -m dhr.train_wss dataset={place.name} wss=cam, or bring masks"
    yield DoctorRow(place.name, "WSS masks", "ok" if masks else "missing", ", ".join(masks) or "none", cure)
    train = data / place.folder / place.splits[0]
    stores = sorted(
        path.name for path in train.glob("*") if path.is_dir() and path.name not in ("image", "mask", "xml")
    )
    cure = "" if stores else f"python -m dhr.extract_uss dataset={place.name} uss=colour, or bring CAUSE features"
    yield DoctorRow(place.name, "USS features", "ok" if stores else "missing", ", ".join(stores) or "none", cure)


def _count(folder: Path, suffixes: tuple[str, ...]) -> int:
    return sum(path.suffix.lower() in suffixes for path in folder.iterdir()) if folder.is_dir() else 0
