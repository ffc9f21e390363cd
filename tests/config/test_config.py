"""Composition and check 1: what is right composes, what is wrong is refused with its key and a cure."""

from pathlib import Path

import pytest
from complaints import complaint
from omegaconf import OmegaConf
from written import written

from dhr.config.compose import compose, jobs
from dhr.config.groups import GROUPS as TABLE
from dhr.config.schema import SCHEMAS
from dhr.config.stored import MOVED, load_run_config, refuse_other_settings, stored_text
from dhr.config.tree import config_folder, options
from dhr.core.errors import InputError
from dhr.disk.layout import RunFolder

GROUPS = sorted({path.name for path in config_folder().iterdir() if path.is_dir()} - {"hydra", "preset"})
OPTIONS = [(group, option) for group in GROUPS for option in options(group)]
BESIDE = {  # what an option needs to make sense
    ("grounder", "ferret"): ["grounder.boxes=tests/helpers/tiny.py"],
    ("classifier", "none"): ["rebalancing=none"],
    **{("backbone", name): ["decoder=mask2former"] for name in options("backbone") if name.startswith("swin")},
    **{("decoder", name): ["backbone=vit_small"] for name in options("decoder") if name.startswith("eomt")},
}
WRONG = [  # command, what is typed, what the message has to say
    ("train", "tau=1.5", ("tau", "1.5", "from 0 to 1")),
    ("train", "tau=-0.1", ("tau", "-0.1", "from 0 to 1")),
    ("train", "tau=nan", ("tau", "from 0 to 1")),
    ("train", "tau=high", ("tau", "high", "a number")),
    ("train", "tau=0.6,0.7", ("tau", "0.6,0.7", "-m")),
    ("train", "tauu=0.5", ("tauu", "did you mean tau?")),
    ("train", "+foo=1", ("foo", "1", "known here", "dataset")),
    ("train", "++foo.bar=1", ("foo.bar", "known here")),
    ("train", "+backbone.foo=1", ("backbone.foo", "output_stride")),
    ("train", "backbone.output_strid=8", ("backbone.output_strid", "did you mean output_stride?")),
    ("train", "backbone.dilation=some", ("backbone.dilation", "official, timm")),
    ("train", "backbone.widths=[1,2]", ("backbone.widths", "list of 4")),
    ("train", "backbone=resnet1O1", ("backbone", "resnet1O1", "did you mean resnet101?")),
    ("train", "dataset=vocc", ("dataset", "vocc", "did you mean voc?", "toy")),
    ("train", "classifier=none", ("rebalancing=dhr", "classifier=cam")),
    ("train", "backbone=swin_tiny decoder=deeplabv2", ("DeepLabV2", "8 or 16", "decoder=mask2former", "vit_small")),
    ("train", "decoder=eomt", ("vision transformer", "backbone=dinov2_base", "dinov3_large", "vit_small")),
    ("train", "decoder=eomt backbone=vit_base decoder.blocks=13", ("decoder.blocks", "13", "12", "at most")),
    ("train", "decoder=eomt backbone=vit_base dataset.crop_size=100", ("dataset.crop_size", "100", "16", "112")),
    ("train", "decoder=eomt backbone=vit_base decoder.patch=8", ("decoder.patch", "8", "16", "leave")),
    ("train", "backbone.output_stride=32", ("DeepLabV3Plus", "8 or 16", "has 32")),
    ("train", "wss=mas", ("wss", "mas", "mars")),
    ("train", "wss=null", ("wss", "null", "mars")),
    ("audit", "uss=null", ("uss", "null", "cause")),
    ("prepare", "class_order=[a]", ("class_order", "by_459_id, voc_first")),
    ("prepare", "workers=-1", ("workers", "-1", "from 0 to 256")),
    ("prepare", "dataset.download._target_=os.system", ("dataset.download._target_", "dhr.dataset.original")),
    ("train", "dataset.batch_size=0", ("dataset.batch_size", "0", "from 2 to")),
    ("train", "dataset.batch_size=-16", ("dataset.batch_size", "-16", "from 2 to")),
    ("train", "dataset.batch_size=many", ("dataset.batch_size", "many", "whole number")),
    ("train", "dataset.crop_size=0", ("dataset.crop_size", "from 8 to")),
    ("train", "dataset.long_side=[640,320]", ("dataset.long_side", "[320, 640]")),
    ("train", "dataset.jitter=[0.1,0.1,0.1,0.6]", ("dataset.jitter", "hue")),
    ("train", "dataset.classes=cats", ("dataset.classes", "cats", "voc")),
    ("train", "dataset.folder=../other", ("dataset.folder", "letters")),
    ("train", "seed=-1", ("seed", "-1", "from 0 to 4294967295")),
    ("train", "seed=1.5", ("seed", "1.5", "whole number")),
    ("train", "name=a/b", ("name", "a/b", "letters")),
    ("train", "debug=maybe", ("debug", "maybe", "true or false")),
    ("train", "trainer.max_epochs=0", ("trainer.max_epochs", "0", "from 1 to")),
    ("train", "trainer.max_epohs=3", ("trainer.max_epohs", "did you mean max_epochs?")),
    ("train", "trainer.precision=8", ("trainer.precision", "bf16-mixed")),
    ("train", "trainer.callbacks=[]", ("trainer.callbacks", "leave it out")),
    ("train", "decoder.num_classes=5", ("decoder.num_classes", "leave it out")),
    ("train", "crf.iterations=1.5", ("crf.iterations", "1.5", "whole number")),
    ("train", "optimizer.head_lr=0", ("optimizer.head_lr", "> 0")),
    ("train", "rebalancing.start_epoch=-1", ("rebalancing.start_epoch", "from 0 to")),
    ("train", "rebalancing.rebalancer.seed=3", ("rebalancing.rebalancer.seed", "3")),
    ("train", "experiment=none_such", ("experiment", "none_such", "reproduce_voc")),
    ("train", "logger.mode=live", ("logger.mode", "live", "offline")),
    ("train", "features=computed uss.centred=true", ("uss.centred", "features=stored")),
    ("train", "~backbone", ("backbone", "missing")),
    ("train", "tau", ("tau", "key=value")),
    ("train", "paths.data=${nowhere}", ("paths.data", "nowhere")),
    ("train", "choices.wss=mars", ("choices.wss", "unknown key")),
    ("prepare", "transfer=move", ("transfer", "move", "link, copy")),
    ("prepare", "backbone=resnet50", ("backbone", "unknown key")),
    ("predict", "split=validation", ("run", "weights")),
    ("predict", "weights=none.pt", ("weights", "none.pt", "run=")),
    ("predict", "run=nowhere", ("run", "nowhere", "config.yaml")),
    ("predict", "run=nowhere seed=3", ("seed", "3", "stored in the run", "leave it out")),
    ("labels", "", ("run", "weights")),
    ("labels", "run=nowhere", ("run", "nowhere", "config.yaml")),
    ("labels", "run=nowhere tau=0.6", ("tau", "0.6", "stored in the run")),
    ("labels", "weights=tests/helpers/tiny.py option=[dhr]", ("option", "did you mean options?")),
    ("labels", "weights=tests/helpers/tiny.py options=dhr", ("options", "dhr", "a list")),
    ("labels", "weights=tests/helpers/tiny.py options=[dhrr]", ("options", "dhrr", "did you mean dhr?", "network_crf")),
    ("labels", "weights=tests/helpers/tiny.py options=['']", ("options", "no such option", "paper")),
    ("labels", "weights=tests/helpers/tiny.py options=[none]", ("options", "none", "given")),
    ("labels", "weights=tests/helpers/tiny.py limit=0", ("limit", "0", "from 1 to")),
    ("labels", "weights=tests/helpers/tiny.py keep=[paper]", ("keep", "paper", "network, network_crf, dhr")),
    ("labels", "weights=tests/helpers/tiny.py classifier=none", ("options", "dhr", "classifier=cam")),
    ("labels", "weights=tests/helpers/tiny.py split=vaildation", ("split", "did you mean validation?")),
    ("evaluate", "run=nowhere dataset=voc", ("dataset", "voc", "stored in the run")),
    ("evaluate", "", ("run", "masks")),
    ("evaluate", "masks=.", ("dataset", "voc")),
    ("evaluate", "masks=. dataset=voc split=vaildation", ("split", "did you mean validation?", "train_aug")),
    ("report", "", ("run",)),
    ("train_uss", "uss=colour", ("uss", "colour", "uss=cause")),
    ("train_uss", "uss=cause uss/tokens=colour trainer.max_epochs=3", ("trainer.max_epochs", "3", "cause.head.epochs")),
    ("train_uss", "resume=true overwrite=true", ("overwrite", "resume")),
    ("train_uss", "cause.head.bank=-1", ("cause.head.bank", "from 0 to")),
    ("train_uss", "cause.crops.ratios=[0,1]", ("cause.crops.ratios", "> 0")),
    ("train_uss", "stego.head.own._target_=os.system", ("stego.head.own._target_", "not a part")),
    ("train_wss", "wss=dhr", ("wss", "dhr", "cam")),
    ("extract_uss", "uss=cause", ("uss.weights", "CAUSE_Toy.pt", "dhr.train_uss dataset=toy uss=cause")),
    ("extract_uss", "uss=dino uss.extractor=null", ("uss", "dino", "colour")),
    ("extract_uss", "uss=dino uss/tokens=dino_vitb9", ("uss/tokens", "dino_vitb9", "did you mean dino_vitb8?")),
    ("extract_uss", "uss=dino uss.tokens.precision=fp8", ("uss.extractor.precision", "fp8", "bf16")),
    ("extract_uss", "uss=dino uss.tokens.name=null", ("name", "null", "text")),
    ("extract_uss", "uss=dino uss.form=npz", ("uss.form", "npz", "safetensors")),
]


def test_the_table_has_a_row_for_every_group() -> None:
    assert {*TABLE} == {*GROUPS} - {"experiment"}


@pytest.mark.parametrize(("verb", "words", "said"), WRONG)
def test_wrong_words_are_refused(
    capsys: pytest.CaptureFixture[str], verb: str, words: str, said: tuple[str, ...]
) -> None:
    message = complaint(capsys, verb, words.split())
    assert [word for word in said if word not in message] == [], message


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group: str, option: str) -> None:
    verb = {"cam": "train_wss", "cause": "train_uss", "stego": "train_uss", "grounder": "ground"}.get(group, "train")
    cfg = compose(verb, [f"{group}={option}", *BESIDE.get((group, option), [])])
    assert cfg.choices.get(group, option) == option
    if group in ("backbone", "decoder"):
        assert cfg[group]._target_ == written(group, option)["_target_"]  # as other tests read it


@pytest.mark.parametrize("verb", sorted({*SCHEMAS} - {"predict", "labels", "report", "evaluate", "submit", "export"}))
def test_every_command_has_defaults(verb: str) -> None:
    assert compose(verb).debug is False


def test_a_dataset_brings_its_preset_and_the_command_line_wins() -> None:
    paper = compose("train", ["dataset=voc", "wss=mars"])
    assert (paper.backbone.name, paper.uss.name, paper.optimizer.head_lr) == ("resnet101", "cause", 0.01)
    assert (paper.dataset.crop_size, paper.trainer.max_epochs, paper.dataset.splits.train) == (512, 100, "train_aug")
    other = compose("train", ["dataset=voc", "backbone=resnet50", "experiment=reproduce_voc"])
    assert (other.backbone.name, other.name) == ("resnet50", "reproduce_voc")


def test_tau_reaches_the_rebalancer() -> None:
    assert compose("train", ["tau=0.65"]).rebalancing.rebalancer.intra_class.groups.tau == 0.65


def test_arguments_that_no_file_lists_can_be_typed() -> None:
    assert compose("train", ["trainer.limit_train_batches=2"]).trainer.limit_train_batches == 2


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("", "simulated-dhr-resnet18_half-seed1"),
        ("seed=3 rebalancing=none", "simulated-none-resnet18_half-seed3"),
        ("tau=0.6", "simulated-dhr-resnet18_half-seed1-tau0.6"),
        ("dataset=voc trainer.max_epochs=2", "mars-dhr-resnet101-seed1"),
        ("name=mine", "mine"),
    ],
)
def test_run_names(words: str, name: str) -> None:
    assert compose("train", words.split()).name == name


def test_jobs_of_a_sweep() -> None:
    assert jobs("train", ["tau=0.6,0.7", "seed=1", "wss=cam,mars"]) == [
        [tau, "seed=1", wss] for tau in ("tau=0.6", "tau=0.7") for wss in ("wss=cam", "wss=mars")
    ]


def stored_run(folder: Path, **changes: object) -> Path:
    cfg = compose("train", ["seed=4"])
    for key, value in changes.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
    folder.mkdir()
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    return folder


def test_a_stored_configuration_is_read_back(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run")
    assert load_run_config(run) == compose("train", ["seed=4"])
    cfg = compose("predict", [f"run={run}", "crf=none"])
    assert (cfg.seed, cfg.backbone.name, cfg.choices.backbone) == (4, "resnet18", "resnet18_half")
    assert (cfg.crf["_target_"], cfg.choices.crf) == ("dhr.crf.none.NoCrf", "none")
    assert compose("evaluate", [f"run={run}"]).dataset.name == "toy"
    with pytest.raises(InputError, match="leave one of the two out"):
        compose("evaluate", [f"run={run}", f"masks={run}"])


def test_a_run_may_be_older_than_a_key(tmp_path: Path) -> None:
    path = stored_run(tmp_path / "run") / "config.yaml"
    older = OmegaConf.load(path)
    for key in ("tokens", "weights", "recipe", "form", "components", "centred"):
        del older.uss[key]
    path.write_text(OmegaConf.to_yaml(older))
    assert load_run_config(tmp_path / "run") == compose("train", ["seed=4"])


def test_a_run_that_is_older_than_a_key_of_a_part_goes_on(tmp_path: Path) -> None:
    """Its default is written 1.0 in the class and 1 in the file of the option."""
    path = stored_run(tmp_path / "run") / "config.yaml"
    older = OmegaConf.load(path)
    assert older.crf.pop("gaussian_sxy") == 1
    del older.backbone.saw, older.wss.saw
    path.write_text(OmegaConf.to_yaml(older))
    refuse_other_settings(RunFolder(tmp_path / "run"), compose("train", ["seed=4", "resume=true"]))
    with pytest.raises(InputError, match=r"other settings: crf.gaussian_sxy=2 \(1 there\)"):
        refuse_other_settings(
            RunFolder(tmp_path / "run"), compose("train", ["seed=4", "resume=true", "crf.gaussian_sxy=2"])
        )


def test_how_masks_were_made_changes_nothing_of_a_run_that_learns_them(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(stored_text(compose("train", ["wss=mars"])))
    other = compose("train", ["wss=mars", "wss.source=simulated", "wss.recipe.kept=0.5", "resume=true"])
    assert other.wss.source.name == "simulated"
    refuse_other_settings(RunFolder(tmp_path), other)


def test_a_source_of_masks_may_have_a_source() -> None:
    wss = compose("train_wss", ["wss=mars", "wss.source=mars"]).wss
    assert (wss.name, wss.source.name, wss.source.source.name) == ("mars", "mars", "cam")


def test_a_model_needs_the_plain_keys_alone(tmp_path: Path) -> None:
    (tmp_path / "uss").mkdir()
    keys = "name: mine\nscales: [1.0]\nflip: false\nstride: 4\nstore: features/{split}\n"
    (tmp_path / "uss" / "mine.yaml").write_text(f"{keys}extractor: {{_target_: dhr.uss.colour.ColourExtractor}}\n")
    uss = compose("extract_uss", ["uss=mine"], folder=str(tmp_path)).uss
    assert (uss.tokens, uss.weights, uss.recipe, uss.form, uss.components) == (None, None, None, "pt", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone___target_": "os.system"},
        {"wss__recipe": {"_target_": "builtins.eval", "source": "1"}},
        {"foo": 1},
        {"tau": 7},
        {"paths__data": "$" + "{oc.env:HOME}"},
    ],
)
def test_a_hostile_stored_configuration_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    run = stored_run(tmp_path / "run", **changes)
    with pytest.raises(InputError, match=r"config\.yaml"):
        load_run_config(run)
    with pytest.raises(InputError, match=r"config\.yaml"):
        refuse_other_settings(RunFolder(run), compose("train", ["seed=4", "resume=true"]))


@pytest.mark.parametrize("text", ["[1, 2]", "a: &x [1]\nb: [*x, *x]", "a: [", "!!python/name:os.system", ""])
def test_an_unreadable_stored_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml"):
        load_run_config(tmp_path)


def test_parts_of_an_old_training_are_found_where_they_stand_now(tmp_path: Path) -> None:
    cfg = compose("train_uss", ["dataset=toy", "uss=cause"])
    text = stored_text(cfg)
    for old, new in MOVED.items():
        text = text.replace(new, old)
    assert "dhr.uss.training.settings.HeadSettings" in text and "dhr.uss.training.views.Crops" in text
    (tmp_path / "config.yaml").write_text(text)
    refuse_other_settings(RunFolder(tmp_path), cfg)
