"""Rules over several keys of one configuration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dhr.config.check import shown
from dhr.config.groups import GROUPS, groups
from dhr.config.label_options import OF_NETWORK, rebalancers_of, refuse_doubles
from dhr.config.networks import check_crop, check_network
from dhr.config.own import own_options
from dhr.config.own_images import check_own_images
from dhr.config.tree import PACKAGE, options
from dhr.core.errors import InputError
from dhr.core.labels import GIVEN, OWN
from dhr.core.words import is_pattern, nearest
from dhr.disk.weights.hub import PROGRAM

HALF_CIRCLE = 0.5  # hues lie on a circle: beyond it they come back
FERRET = "dhr.grounder.ferret.Ferret"  # runs elsewhere
LENGTHS = ("max_epochs", "max_steps", "max_time", "min_epochs", "min_steps", "limit_train_batches", "fast_dev_run")
SUFFIXES = {"safetensors": ".safetensors", "torch_export": ".pt2", "onnx": ".onnx"}  # of what dhr.export writes
COMMON_SPLITS = ("train", "validation", "test")  # folders that exist beside those a dataset file names


def check_relations(verb: str, values: Mapping[str, Any]) -> None:
    """Checks what no single key shows.

    Raises:
        InputError: keys that exclude or need each other, an unknown split or class table.
    """
    if values.get("dataset") is not None:
        _check_dataset(values["dataset"])
        _check_split(values)
    if "decoder" in values:
        check_network(values["backbone"], values["decoder"])
    if verb in _RULES:
        _RULES[verb](values)


def _check_dataset(dataset: Mapping[str, Any]) -> None:
    low, high = dataset["long_side"]
    if low > high:
        raise InputError(f"dataset.long_side: [{low}, {high}]: not in order; write [{high}, {low}]")
    if dataset["jitter"][-1] > HALF_CIRCLE:
        raise InputError(f"dataset.jitter: {dataset['jitter']}: the last one turns the hue, by at most {HALF_CIRCLE}")
    tables = sorted(path.stem for path in (PACKAGE / "dataset" / "tables").glob("*.json"))
    if dataset["generate"] is not None and dataset.get("image_size") is None:
        raise InputError("dataset.image_size: null: how large are the generated images? use dataset.image_size=96")
    name = dataset["classes"]
    if name not in (*tables, OWN):
        cure = f"{nearest(name, tables)}known: {', '.join(tables)}"
        raise InputError(f"dataset.classes: {name}: no such class table; {cure}")


def _check_split(values: Mapping[str, Any]) -> None:
    known = sorted({*values["dataset"]["splits"].values(), *COMMON_SPLITS})
    split = values.get("split")
    if split is not None and split not in known:
        raise InputError(f"split: {split}: no such split; {nearest(split, known)}allowed: {', '.join(known)}")


def _exactly_one(values: Mapping[str, Any], *keys: str) -> None:
    given = [key for key in keys if values[key] is not None]
    if len(given) > 1:
        raise InputError(f"{given[1]}: {values[given[1]]}: {given[0]} is given too; leave one of the two out")
    if not given:
        others = " or ".join(f"{key}=<path>" for key in keys[1:])
        raise InputError(f"{keys[0]}: null: what to work on? use {keys[0]}=<folder> or {others}")


def _train(values: Mapping[str, Any]) -> None:
    crop, cell = values["dataset"]["crop_size"], values["uss"]["stride"]
    if crop < cell:
        raise InputError(
            f"dataset.crop_size: {crop}: smaller than a cell of the USS features (uss.stride={cell}); "
            f"use at least dataset.crop_size={cell}"
        )
    check_crop(crop, values["decoder"])
    if values["rebalancing"]["rebalancer"] is not None and values["classifier"]["_target_"].endswith(".NoClassifier"):
        raise InputError(
            f"classifier: none: rebalancing={values['choices'].get('rebalancing')} reads class activation maps; "
            "use classifier=cam, or rebalancing=none"
        )
    for group in groups("usual"):
        chosen = values["choices"].get(group)
        if values["rebalancing"]["rebalancer"] is None and chosen != GROUPS[group].usual:
            raise InputError(
                f"{group}: {chosen}: rebalancing={values['choices'].get('rebalancing')} makes no labels; "
                f"leave {group}={chosen} out, or use rebalancing=dhr"
            )
    if values["choices"].get("features") == "computed":
        _extract_uss(values)
        _refuse_centred(values)


def _refuse_centred(values: Mapping[str, Any]) -> None:
    """The mean is that of a split, and a batch has none; left in without a word, it would change every cosine."""
    if values["uss"].get("centred"):
        raise InputError("uss.centred: true: is for features of a store; use features=stored, or uss.centred=false")


def _predict(values: Mapping[str, Any]) -> None:
    _exactly_one(values, "run", "weights")
    if values["weights"] is not None and not Path(values["weights"]).is_file():
        raise InputError(f"weights: {values['weights']}: no such file; use weights=<file> or run=<folder>")


def _predict_images(values: Mapping[str, Any]) -> None:
    _predict(values)
    if values["precision"] != "fp32" and _is_program(values):
        raise InputError(f"precision: {values['precision']}: a program computes as it was exported; leave it out")
    images, tags = values["images"], values["tags"]
    if images is None:
        given = next((key for key in ("tags", "output", "overlay", "soft") if values[key]), None)
        if given is not None:
            raise InputError(f"{given}: {shown(values[given])}: is for images of your own; add images=<folder>")
        return
    if values["split"] is not None:
        raise InputError(f"images: {images}: split={values['split']} is given too; leave one of the two out")
    if not Path(images).exists() and not is_pattern(images):
        raise InputError(f"images: {images}: no such file or folder; use images=<folder>, <file> or '<pattern>'")
    if tags is not None and not Path(tags).exists():
        raise InputError(f"tags: {tags}: no such file; use tags=<file>, such as a CSV or JSON file")


def _of_weights(values: Mapping[str, Any]) -> None:
    """As `_predict`, for what looks into the network."""
    _predict(values)
    if _is_program(values):
        raise InputError(f"weights: {values['weights']}: a program and no weights; use the run, or its *.safetensors")


def _is_program(values: Mapping[str, Any]) -> bool:
    return values["weights"] is not None and Path(values["weights"]).suffix == PROGRAM


def _export(values: Mapping[str, Any]) -> None:
    _of_weights(values)
    output, suffix = values["output"], SUFFIXES[values["format"]]
    is_folder = values["format"] == "safetensors" and output is not None and "." not in Path(output).name
    if output is not None and not is_folder and Path(output).suffix != suffix:
        folder = ", or a folder for the hub" if values["format"] == "safetensors" else ""
        raise InputError(
            f"output: {output}: format={values['format']} writes *{suffix}{folder}; use output=<name>{suffix}"
        )
    if values["size"] is not None and values["format"] == "safetensors":
        raise InputError(f"size: {values['size']}: weights hold for any size; leave it out")
    for image in values["images"] or ():
        if not Path(image).is_file():
            raise InputError(f"images: {image}: no such file; use images=[<a.jpg>,<b.jpg>], or leave it out")


def _labels(values: Mapping[str, Any]) -> None:
    _of_weights(values)
    asked = [option for option in values["options"] if option not in (GIVEN, *OF_NETWORK)]
    if asked and values["classifier"]["_target_"].endswith(".NoClassifier"):
        raise InputError(
            f"options: {asked[0]}: reads class activation maps, and this network was trained with classifier=none; "
            "leave it out, or take a network trained with classifier=cam"
        )
    if asked and values["choices"].get("features") == "computed":
        _extract_uss(values)
    for option in values["keep"] if isinstance(values["keep"], list) else []:
        if option not in (GIVEN, *values["options"]):
            known = ", ".join([GIVEN, *values["options"]])
            raise InputError(f"keep: {option}: is not made here; allowed: {known}; or add it to options")
    refuse_doubles(values)
    rebalancers_of(values)


def _evaluate(values: Mapping[str, Any]) -> None:
    _exactly_one(values, "run", "masks", "maps")
    if values["run"] is not None:
        return
    key, files = ("masks", "<id>.png") if values["maps"] is None else ("maps", "<id>.safetensors")
    if not Path(values[key]).is_dir():
        raise InputError(f"{key}: {values[key]}: no such folder; use {key}=<folder of {files}>")
    if values.get("dataset") is None:
        names = ", ".join([*options("dataset"), *own_options(values["paths"]["data"], "dataset")])
        raise InputError(f"dataset: null: whose classes do the {key} have? use dataset=<name>, one of {names}")


def _submit(values: Mapping[str, Any]) -> None:
    if values["archive"] is not None:
        if values["run"] is None and values["masks"] is None:
            values = {**values, "masks": str(Path(values["archive"]).parent)}
        else:
            raise InputError(f"archive: {values['archive']}: is only checked; leave run and masks out")
        if values["output"] is not None:
            raise InputError(f"output: {values['output']}: archive is only checked; leave one of the two out")
    _evaluate({**values, "maps": None})


def _report(values: Mapping[str, Any]) -> None:
    if values["run"] is None:
        raise InputError("run: null: the report of which run? use run=<outputs>/<dataset>/runs/<name>")
    if values["rows"] is not None and values["figures"] is None:
        raise InputError("rows: these are written as files, and figures says where to; use figures=<folder>")


def _ground(values: Mapping[str, Any]) -> None:
    _check_boxes(values["grounder"], "grounder")


def _check_boxes(grounder: Mapping[str, Any], place: str) -> None:
    if grounder["_target_"] != FERRET:
        return
    boxes, cure = grounder["boxes"], f"set {place}.boxes=<file of JSON lines>"
    if boxes is None:
        raise InputError(f"{place}.boxes: null: Ferret runs elsewhere, its boxes are due; {cure}")
    if not Path(boxes).is_file():
        raise InputError(f"{place}.boxes: {boxes}: no such file; {cure}")


def _train_wss(values: Mapping[str, Any]) -> None:
    wss, trainer = values["wss"], values["trainer"]
    if wss["recipe"] is None:
        raise InputError(f"wss: {wss['name']}: its masks are made elsewhere; use wss=cam, or bring the masks")
    if "grounder" in wss["recipe"]:
        _check_boxes(wss["recipe"]["grounder"], "wss.recipe.grounder")
    key = "cam.epochs" if wss["name"] == "cam" else "wss.recipe.epochs"
    for name in LENGTHS:
        if trainer.get(name) not in (None, False, -1):
            raise InputError(f"trainer.{name}: {shown(trainer[name])}: the method has its own length; set {key}")


def _train_uss(values: Mapping[str, Any]) -> None:
    uss, trainer = values["uss"], values["trainer"]
    if uss["recipe"] is None or uss["tokens"] is None or uss["weights"] is None:
        raise InputError(f"uss: {uss['name']}: has no head that could be trained; use uss=cause or uss=stego")
    for key in ("max_epochs", "max_steps"):
        if trainer.get(key) is not None:
            raise InputError(
                f"trainer.{key}: {trainer[key]}: each stage has a length of its own; leave it out and set "
                f"{uss['name']}.head.epochs, {uss['name']}.head.steps and the like"
            )
    if values["resume"] and values["overwrite"]:
        raise InputError("overwrite: true: resume is true too; leave one of the two out")


def _extract_uss(values: Mapping[str, Any]) -> None:
    uss = values["uss"]
    if uss["extractor"] is None:
        raise InputError(
            f"uss: {uss['name']}: cannot be computed here; use uss=colour, or bring its feature files to {uss['store']}"
        )
    if uss.get("weights") is not None and not Path(uss["weights"]).is_file():
        raise InputError(
            f"uss.weights: {uss['weights']}: no such file; put the authors' weights there, or run "
            f"python -m dhr.train_uss dataset={values['dataset']['name']} uss={uss['name']} with the same uss/tokens"
        )


def _audit(values: Mapping[str, Any]) -> None:
    split, train = values["split"], values["dataset"]["splits"]["train"]
    given = next((group for group in ("wss", "uss") if values.get(group) is not None), None)
    if given is not None and split not in (None, train):
        raise InputError(
            f"{given}: {values[given]['name']}: is looked at for the split {train} alone; leave split={split} out"
        )


_RULES: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "train": _train,
    "predict": _predict_images,
    "export": _export,
    "labels": _labels,
    "evaluate": _evaluate,
    "report": _report,
    "submit": _submit,
    "audit": _audit,
    "prepare": check_own_images,
    "train_wss": _train_wss,
    "train_uss": _train_uss,
    "extract_uss": _extract_uss,
    "ground": _ground,
}
