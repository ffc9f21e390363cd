"""Parts of other installed packages: the tutorial package works as its words say, and hostile ones are refused."""

import importlib
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from rich.console import Console

from dhr.config import outside, signatures
from dhr.config.compose import compose
from dhr.config.parts import build, check_signatures
from dhr.core.errors import InputError
from dhr.stage.doctor import table_of
from dhr.stage.installation import declared_parts

TUTORIAL = Path(__file__).resolve().parents[1] / "plugin_package"
Install = Callable[..., None]
NET = "class Net:\n    def __init__(self, width: int = 3) -> None:\n        self.width = width\n"


def forget() -> None:
    importlib.invalidate_caches()
    for cached in (
        *(outside.outside_parts, outside.outside_file),
        *(signatures.unreadable, signatures.arguments, signatures.section_of_part, signatures._source),
    ):
        cached.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package where pip would, with its list of files and entry points."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = {*sys.modules}

    def put(name: str, files: Mapping[str, str], *, parts: Mapping[str, str], configs: Mapping[str, str]) -> None:
        for file, text in files.items():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_text(text)
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        lines = ["[dhr.parts]", *(f"{key} = {value}" for key, value in parts.items())]
        lines += ["[dhr.configs]", *(f"{key} = {value}" for key, value in configs.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        forget()

    yield put
    shutil.rmtree(site)
    for module in {*sys.modules} - before:
        if module.partition(".")[0] in ("my_parts", "bad"):
            del sys.modules[module]
    forget()


@pytest.fixture
def tutorial(install: Install) -> None:
    project = tomllib.loads((TUTORIAL / "pyproject.toml").read_text())["project"]
    files = [path for path in sorted(TUTORIAL.rglob("*.*")) if path.suffix in (".py", ".yaml")]
    install(
        project["name"],
        {path.relative_to(TUTORIAL).as_posix(): path.read_text() for path in files},
        parts=project["entry-points"]["dhr.parts"],
        configs=project["entry-points"]["dhr.configs"],
    )


def test_the_tutorial_package_adds_options(tutorial: None) -> None:
    cfg = compose("train", ["backbone=my_net", "backbone.width=8", "crf=my_crf", "crf.power=3"])
    assert "my_parts" not in sys.modules  # its signatures were read, and nothing was run
    check_signatures(cfg)
    backbone = build(cfg.backbone)
    assert backbone.channels == (8, 16, 32, 64)
    assert [tuple(each.shape[1:]) for each in backbone(torch.zeros(1, 3, 32, 48))] == [
        (8, 8, 12), (16, 4, 6), (32, 2, 3), (64, 2, 3),
    ]  # fmt: skip
    field = build(cfg.crf).on(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), torch.ones(1, 1, 1) > 0)
    found = field(torch.tensor([0.25, 0.75]).view(1, 2, 1, 1), torch.ones(1, 2) > 0)
    assert found.flatten().tolist() == pytest.approx([1 / 28, 27 / 28])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backbone=my_net", "backbone.width=2"], "backbone.width: 2: out of range; allowed is a whole number from 4"),
        (["backbone=my_net", "backbone.wdth=8"], "backbone.wdth: 8: unknown key; did you mean width?"),
        (["backbone=my_net", "backbone.activation=tanh"], "allowed is one of relu, gelu"),
        (["crf=my_crf", "crf.power=0"], "crf.power: 0: out of range; allowed is a number > 0 and <= 10"),
        (["decoder._target_=my_parts.nets.MyNet"], "not a part of this group"),
        (["backbone=my_net", "backbone._target_=my_parts.nets.nn.Linear"], "not a part of this group"),
    ],
)
def test_its_values_are_checked_as_ours(tutorial: None, words: list[str], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        compose("train", words)
    assert "my_parts" not in sys.modules


def test_nothing_is_there_without_the_package() -> None:
    with pytest.raises(InputError, match="not a part of this group"):
        compose("train", ["backbone._target_=my_parts.nets.MyNet"])


def test_the_doctor_lists_them(tutorial: None) -> None:
    rows = [*declared_parts()]
    assert [(row.name, row.state) for row in rows] == [
        ("backbone.my_net = my_parts.nets:MyNet", "ok"),
        ("crf.my_crf = my_parts.crf:Sharpen", "ok"),
        ("my_parts = my_parts.configs", "ok"),
    ]
    assert rows[0].found == "my-parts 1.0"
    Console(file=open("/dev/null", "w")).print(table_of(rows))  # noqa: SIM115


HOSTILE = [
    ("backbone.resnet101", "bad.nets:Net", NET, "backbone=resnet101 is an option of dhr itself; give it another name"),
    ("backbones.mine", "bad.nets:Net", NET, 'its name has to be "<group>.<option>"'),
    ("paths.mine", "bad.nets:Net", NET, 'its name has to be "<group>.<option>"'),
    ("trainer.mine", "bad.nets:Net", NET, 'its name has to be "<group>.<option>"'),
    ("backbone.mine", "bad.nets", NET, 'it has to be "<package>.<module>:<Class>"'),
    ("backbone.mine", "bad.nets:Net.load", NET, 'it has to be "<package>.<module>:<Class>"'),
    ("backbone.mine", "os:system", NET, "os is no module of that package"),
    ("backbone.mine", "torch.hub:load", NET, "torch.hub is no module of that package"),
    ("backbone.mine", "dhr.crf.none:NoCrf", NET, "there is no source file of the module dhr.crf.none"),
    ("backbone.mine", "bad.other:Net", NET, "there is no source file of the module bad.other"),
    ("backbone.mine", "bad.nets:Other", NET, "bad.nets has no class Other at its top level"),
    ("backbone.mine", "bad.nets:load", "def load() -> None: ...\n", "bad.nets has no class load at its top level"),
    ("backbone.mine", "bad.nets:Net", NET.replace(": int", ""), "Net: width has no type; write its range"),
    ("backbone.mine", "bad.nets:Net", NET.replace("width: int = 3", "**width: int"), "Net takes any argument"),
    (
        "backbone.mine",
        "bad.nets:Net",
        NET.replace("int", "__import__('os').getcwd()"),
        "is not made of types and ranges",
    ),
    ("backbone.mine", "bad.nets:Net", f"Size = open('/tmp/x')\n{NET.replace('int', 'Size')}", "is not made of types"),
    ("backbone.mine", "bad.nets:Net", f"Size = Size\n{NET.replace('int', 'Size')}", "its arguments cannot be read"),
    ("backbone.mine", "bad.nets:Net", NET.replace("int", "Unknown"), "its arguments cannot be read"),
    ("backbone.mine", "bad.nets:Net", "class Net(\n", "its arguments cannot be read"),
]  # name, value, source of bad.nets, what is told


@pytest.mark.parametrize(("name", "value", "source", "told"), HOSTILE)
def test_what_is_refused(install: Install, name: str, value: str, source: str, told: str) -> None:
    raising = "raise SystemExit('imported')\n"
    install("bad", {"bad/__init__.py": raising, "bad/nets.py": source}, parts={name: value}, configs={})
    target = value.replace(":", ".")
    with pytest.raises(InputError) as raised:
        compose("train", [f"backbone._target_={target}"])
    message = str(raised.value)
    assert message.startswith(
        f"backbone._target_: {target}: refused, from the entry point {name} = {value} of bad 1.0: "
    )
    assert told in message
    compose("train", ["backbone=resnet101", "decoder=deeplabv2"])  # what does not name it, works
    (row,) = declared_parts()
    assert row.state == "optional" and told in row.found and row.cure == "correct or uninstall bad 1.0"


@pytest.mark.parametrize("raising", ["raise ValueError('at import')\n", "import no_such_module\n", "1 / 0\n"])
def test_an_import_that_raises(install: Install, raising: str) -> None:
    yaml = "_target_: bad.nets.Net\n"
    files = {"bad/__init__.py": "", "bad/nets.py": raising + NET, "bad/configs/backbone/mine.yaml": yaml}
    install("bad", files, parts={"backbone.mine": "bad.nets:Net"}, configs={"bad": "bad.configs"})
    cfg = compose("train", ["backbone=mine"])
    with pytest.raises(InputError, match=r"backbone: bad.nets.Net: cannot be imported: .*; correct or uninstall bad 1"):
        check_signatures(cfg)


def test_folders_of_others_are_not_searched(install: Install) -> None:
    files = {"bad/__init__.py": "", "bad/configs/backbone/mine.yaml": "_target_: bad.nets.Net\n"}
    install("bad", files, parts={}, configs={"a": "os", "b": "bad.nowhere", "c": "json", "d": "../bad"})
    assert [folder for _, folder in outside.config_folders()] == [None] * 4
    assert [row.state for row in declared_parts()] == ["optional"] * 4


def test_an_option_of_ours_is_not_replaced(install: Install) -> None:
    files = {"bad/__init__.py": "", "bad/configs/backbone/resnet18.yaml": "_target_: os.system\n"}
    install("bad", files, parts={}, configs={"bad": "bad.configs"})
    assert compose("train", ["backbone=resnet18"]).backbone._target_ == "dhr.backbone.resnet.ResNet"


def test_a_folder_that_is_worked_on(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip install --editable lists no file of the package; it says where its folder is."""
    install("bad", {}, parts={"backbone.mine": "bad.nets:Net"}, configs={})
    source = tmp_path / "work"
    (source / "bad").mkdir(parents=True)
    (source / "bad" / "nets.py").write_text(NET)
    (source / "bad" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(source))
    forget()
    assert [part.problem for part in outside.outside_parts()] != [None]
    info = next((tmp_path / "site-packages").glob("*.dist-info"))
    (info / "direct_url.json").write_text(f'{{"url": "file://{source}", "dir_info": {{"editable": true}}}}')
    forget()
    assert [part.problem for part in outside.outside_parts()] == [None]
