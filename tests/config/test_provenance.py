"""What weights saw and whose licence they have: in run.json, the report and the table of an ablation."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from report_pages import RECORD, make_run, scores_of

from dhr.config.compose import compose
from dhr.config.parts import build, check_signatures, without_saw
from dhr.config.provenance import (
    LETTERS,
    file_of_letters,
    in_words,
    joined,
    letters_of,
    letters_of_making,
    provenance,
)
from dhr.config.tree import options
from dhr.core.errors import InputError
from dhr.disk.atomic import write_json
from dhr.disk.run_record import RunRecord
from dhr.page.report import write_report
from dhr.wss.cam import CamRecipe
from dhr.wss.irn import IrnRecipe
from dhr.wss.mars import MarsRecipe
from dhr.wss.rsepm import RsEpm
from dhr.wss.scg import ScgRecipe
from dhr.wss.text import TextRecipe

ROOT = Path(__file__).parents[2]
VOC = ("dataset=voc", "wss=mars", "uss=dinov2")


@pytest.mark.parametrize(
    ("words", "saw"),
    [
        (["dataset=toy"], {"backbone": "nothing", "wss": "M", "uss": "nothing"}),
        ([*VOC], {"backbone": "I", "wss": "IS", "uss": "S"}),
        ([*VOC, "backbone.saw=TS"], {"backbone": "ST", "wss": "IS", "uss": "S"}),
        ([*VOC, "backbone.weights=null"], {"backbone": "nothing", "wss": "IS", "uss": "S"}),
        ([*VOC, "backbone.weights=pixels:file.pth"], {"backbone": "IM", "wss": "IS", "uss": "S"}),
        ([*VOC, "backbone.weights=file.pth", "backbone.saw=null"], {"backbone": "?", "wss": "IS", "uss": "S"}),
        ([*VOC, "rebalancing=none"], {"backbone": "I", "wss": "IS"}),
        (
            ["dataset=voc", "wss=cam", "uss=cause", "uss/tokens=tipsv2_vitb14"],
            {"backbone": "I", "wss": "I", "uss": "T"},
        ),
        (["dataset=voc", "wss=scg", "uss=colour"], {"backbone": "I", "wss": "I", "uss": "nothing"}),
        (["dataset=voc", "wss=irn", "uss=colour"], {"backbone": "I", "wss": "I", "uss": "nothing"}),
        (["dataset=toy", "wss=irn", "uss=colour"], {"backbone": "nothing", "wss": "nothing", "uss": "nothing"}),
        (["dataset=voc", "wss=dhr", "uss=timm"], {"backbone": "I", "wss": "?", "uss": "?"}),
        (["dataset=voc", "wss=dhr", "wss.saw=T", "uss=colour"], {"backbone": "I", "wss": "T", "uss": "nothing"}),
    ],
)
def test_letters_of_a_run(words: list[str], saw: dict[str, str]) -> None:
    cfg = compose("train", words)
    check_signatures(cfg)
    assert provenance(cfg)["saw"] == saw


MADE: list[tuple[type[Any], list[str], str]] = [
    (CamRecipe, ["wss=cam"], "I"),
    (CamRecipe, ["wss=cam", "cam.backbone.weights=null"], "nothing"),
    (CamRecipe, ["wss=cam", "wss.saw=S"], "S"),
    (ScgRecipe, ["wss=scg"], "I"),
    (IrnRecipe, ["wss=irn"], "I"),
    (IrnRecipe, ["wss=irn", "cam.backbone.saw=T"], "T"),
    (MarsRecipe, ["wss=mars", "uss=dinov2"], "IS"),
    (MarsRecipe, ["wss=mars", "uss=colour", "backbone.weights=null"], "I"),
    (MarsRecipe, ["wss=mars", "uss=colour", "backbone.weights=null", "cam.backbone.weights=null"], "nothing"),
    (MarsRecipe, ["wss=mars", "uss=colour", "backbone.saw=T", "wss.source=truth"], "TM"),
    (MarsRecipe, ["wss=mars", "uss=colour", "wss.source=rsepm"], "I"),  # brought
    (RsEpm, ["wss=rsepm"], "I"),
    (RsEpm, ["wss=rsepm", "backbone.weights=pixels:own.pth", "backbone.saw=S"], "SM"),
    (TextRecipe, ["wss=text"], "T"),
    (TextRecipe, ["wss=text", "wss.saw=null"], "?"),
]


@pytest.mark.parametrize(("recipe", "words", "saw"), MADE)
def test_letters_of_masks_follow_from_what_they_are_made_of(recipe: type[Any], words: list[str], saw: str) -> None:
    cfg = compose("train_wss", ["dataset=voc", *words])
    assert cfg.wss.recipe["_target_"].rpartition(".")[2] == recipe.__name__
    assert letters_of_making(cfg, recipe.seen) == saw


def test_masks_made_here_say_what_they_saw_and_brought_ones_are_as_published(tmp_path: Path) -> None:
    masks, words = tmp_path / "MARS" / "train_aug", ["dataset=voc", f"wss.masks={tmp_path}/MARS/{{split}}"]

    def found(*more: str) -> str:
        return provenance(compose("train", [*words, *more]))["saw"]["wss"]

    assert (found("wss=mars"), found("wss=rsepm"), found("wss=cam")) == ("IS", "I", "I")
    masks.mkdir(parents=True)
    masks.with_suffix(".json").write_text("{}")  # made here by a version that wrote no letters
    assert (found("wss=mars"), found("wss=rsepm"), found("wss=cam")) == ("?", "?", "I")
    file_of_letters(masks).write_text('{"saw": "T"}')
    assert (found("wss=mars"), found("wss=rsepm"), found("wss=cam")) == ("T", "T", "T")
    assert found("wss=mars", "wss.saw=S") == "S"
    for broken in ('{"saw": "X"}', '{"saw": 3}', "{}", "[]"):
        file_of_letters(masks).write_text(broken)
        with pytest.raises(InputError, match=r"train_aug\.saw\.json: .*run"):
            found("wss=mars")


def test_a_network_of_train_wss_saw_what_its_masks_saw(tmp_path: Path) -> None:
    weights = tmp_path / "WSS" / "CAM" / "backbone.safetensors"
    words = ["dataset=toy", f"backbone.weights={weights}"]
    assert provenance(compose("train", words))["saw"]["backbone"] == "?"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    assert provenance(compose("train", words))["saw"]["backbone"] == "?", "a file of others is not told of"
    for split, letters in (("train", "nothing"), ("train_aug", "IS")):
        write_json(file_of_letters(weights.parent / split), {"saw": letters})
    assert provenance(compose("train", words))["saw"]["backbone"] == "IS"
    told = provenance(compose("train", [*words, "backbone.saw=T"]))["saw"]
    assert told["backbone"] == "T", "what the user says comes first"
    write_json(file_of_letters(weights.parent / "train"), {"saw": "nothing at all"})
    with pytest.raises(InputError, match="not what train_wss writes"):
        provenance(compose("train", words))


def test_licences_are_those_of_the_names() -> None:
    assert provenance(compose("train", ["uss=cause", "uss/tokens=dinov3_vits16"]))["licences"] == {
        "uss": "dinov3-license"
    }
    assert provenance(compose("train", ["dataset=toy"]))["licences"] == {}


def test_masks_of_an_image_text_model() -> None:
    told = provenance(compose("train", ["dataset=toy", "wss=text", "rebalancing=none"]))
    assert told == {"saw": {"backbone": "nothing", "wss": "T"}, "licences": {}}  # the card of CLIP names none
    words = ["wss.recipe.name=google/siglip2-base-patch16-224", "wss.saw=null"]
    told = provenance(compose("train", ["dataset=toy", "wss=text", "rebalancing=none", *words]))
    assert told == {"saw": {"backbone": "nothing", "wss": "?"}, "licences": {"wss": "apache-2.0"}}
    brought = provenance(compose("train", ["dataset=toy", "wss=text", "rebalancing=none", "wss.recipe.name=my/folder"]))
    assert brought["licences"] == {}


@pytest.mark.parametrize("group", ["backbone", "uss/tokens"])
def test_every_option_with_weights_can_be_told_of(group: str) -> None:
    for option in options(group):
        cfg: Any = compose(
            "train",
            [f"{group}={option}", "uss=dinov2"]
            if group == "uss/tokens"
            else [f"{group}={option}", "decoder=mask2former"],
        )
        node = cfg.uss.tokens if group == "uss/tokens" else cfg.backbone
        assert ("saw" in node) == ("weights" in node)
        assert node.get("saw") is None or set(node.saw) <= {*LETTERS}


@pytest.mark.parametrize("word", ["backbone.saw=X", "backbone.saw=IX", "uss.tokens.saw=is", "wss.saw=human"])
def test_other_letters_are_refused(word: str) -> None:
    with pytest.raises(
        InputError, match=r"saw: .*: does not fit here; allowed is text of the letters I \(ImageNet labels\)"
    ):
        compose("train", [*VOC, word])


def test_what_has_no_weights_saw_nothing_that_could_be_told() -> None:
    with pytest.raises(InputError, match=r"decoder\.saw: I: unknown key"):
        compose("train", ["decoder.saw=I"])


def test_the_word_changes_nothing_of_what_is_made() -> None:
    """Neither what is built, nor the settings by which stores and masks are told apart."""
    plain, told = (compose("train", [*words, "uss=cause"]).uss for words in ([], ["uss.tokens.saw=IT"]))
    assert without_saw(plain) == without_saw(told) and "saw" not in str(without_saw(told))
    node = compose("train", ["dataset=toy", "backbone.saw=S"]).backbone
    assert node.saw == "S" and len(build(node).channels) == 4


def test_letters_of_several() -> None:
    assert joined(["SI", "nothing", "M"]) == "ISM" and joined([]) == joined(["nothing"]) == "nothing"
    assert joined(["?", "S"]) == "S?" and letters_of(None) == "?"
    assert in_words("IS?") == "I ImageNet labels, S images without labels, ? not told"
    assert in_words("nothing") == "nothing"


SAW = {"saw": {"backbone": "I", "wss": "IS", "uss": "S"}, "licences": {"uss": "dinov3-license"}}


def test_the_report_says_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "told", record={**RECORD, **SAW})
    page = write_report(run).read_text()
    assert "backbone I, wss IS, uss S" in page and "uss dinov3-license" in page
    other = make_run(tmp_path / "other", record={**RECORD, "saw": {"backbone": "T", "wss": "IS", "uss": "S"}})
    assert "backbone T, wss IS, uss S" in write_report(run, compare=[other]).read_text()


@pytest.mark.parametrize("saw", ["I", ["I"], {"backbone": 3}])
def test_a_broken_record_is_refused(tmp_path: Path, saw: object) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"saw": saw}))
    with pytest.raises(InputError, match=r"run\.json: saw: .*not what a run writes"):
        RunRecord.read(path)


def test_the_table_of_an_ablation_says_it_of_all_runs_together(tmp_path: Path) -> None:
    for name, record in {"none-seed1": {"saw": {"backbone": "I"}}, "dhr-seed1": SAW, "old-seed1": {}}.items():
        run = tmp_path / f"try-{name}"
        (run / "scores").mkdir(parents=True)
        (run / "scores" / "validation.json").write_text(json.dumps(scores_of(50.0)))
        (run / "run.json").write_text(json.dumps({"seconds": 9, **record}))
    script = runpy.run_path(str(ROOT / "scripts" / "ablation_table.py"))
    said = script["saw"](script["collect"](tmp_path, "try", "validation"))
    assert said.startswith("weights saw: I ImageNet labels, S images without labels, ? not told (")
    assert all(part in said for part in ("backbone I", "wss IS", "uss S", "weights ?"))
