"""Writes that fail say where and what to do, and what a killed process was writing is cleared away, nothing else."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import SIDE, Tiny, environment

from dhr.core.errors import InputError
from dhr.dataset.toy.toy_set import write_toy
from dhr.disk.atomic import write_atomically
from dhr.disk.writing import FORGOTTEN, UnwritableError, part_of, remove_orphans


def occupied(root: Path) -> Path:
    """A file lies where a folder has to be."""
    (root / "there").write_bytes(b"kept")
    return root / "there" / "deep" / "a.png"


def folder(root: Path) -> Path:
    """A folder lies where the file has to be."""
    (root / "a.png" / "b").mkdir(parents=True)
    return root / "a.png"


OBSTACLES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a file in place of a folder": (occupied, r"directory: \S+/there\); move away what lies there, or choose another"),
    "a folder in place of a file": (folder, r"directory: \S+/a\.png\); move away what lies there, or choose another"),
    "a forbidden place": (lambda _: Path("/sys/dhr/a.png"), r"\); get the right to write there, or choose another"),
    "a long name": (lambda root: root / ("a" * 300), r"name too long\); use shorter names"),
}  # fmt: skip


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_a_write_that_fails_says_where_and_what_to_do(tmp_path: Path, obstacle: str) -> None:
    make, said = OBSTACLES[obstacle]
    path = make(tmp_path)
    before = {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")}
    with pytest.raises(UnwritableError, match=f"(?i)^{re.escape(str(path))}: cannot be written \\(.*{said}"):
        write_atomically(path, b"new")
    assert {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")} == before  # and no part is left


def test_no_space_leaves_the_old_file(tmp_path: Path) -> None:
    """The limit on the length of files stands for a full disk."""
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    if (child := os.fork()) == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            write_atomically(path, bytes(10_000))
        except UnwritableError as error:
            (tmp_path / "said").write_text(str(error)[-100:])
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert path.read_bytes() == b"old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.png", "said"]


STAGES: dict[str, tuple[str, ...]] = {
    "prepare": ("paths.data={file}/data",),
    "extract_uss": ("uss.store='{file}/colour'",),
    "train_wss": ("wss.masks='{file}/{{split}}'",),
    "audit": ("dataset=toy", "paths.outputs={file}/outputs"),
    "evaluate": ("dataset=toy", "masks={masks}"),
}


@pytest.mark.parametrize("verb", STAGES)
def test_every_stage_names_the_place_it_cannot_write(tmp_path: Path, verb: str) -> None:
    write_toy(tmp_path / "data", splits={"train": 4, "validation": 2}, image_size=SIDE)
    there, file = Tiny(tmp_path), tmp_path / "file"
    file.write_bytes(b"kept")
    masks = there.layout.split("validation") / "mask"
    (masks.parent / "mask.validation.scores.json").mkdir()
    words = [word.format(file=file, masks=masks) for word in STAGES[verb]]
    with pytest.raises(InputError, match=r"cannot be written \(.*: \S+\); move away what lies there"):
        there.call(verb, *words)
    assert file.read_bytes() == b"kept"


WRITER = """
import os, sys, time
from pathlib import Path
from dhr.disk.atomic import write_atomically
def stop(*_):
    print("written", flush=True)
    time.sleep(60)
os.replace = stop
write_atomically(Path(sys.argv[1]), b"new")
"""


def test_what_a_killed_process_was_writing_is_removed_and_of_a_living_one_stays(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a.png")]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"written\n"
        remove_orphans(tmp_path)
        (part,) = tmp_path.glob(".*.part")
        assert part.read_bytes() == b"new"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    remove_orphans(tmp_path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.png", b"old")]


def other_start(part: Path) -> Path:
    """A process that has the number of a dead one."""
    place, pid, start, token = part.name.removesuffix(".part").rpartition(".")[2].split("-")
    return part.with_name(f".a.png.{place}-{pid}-{int(start) + 1}-{token}.part")


def other_machine(part: Path) -> Path:
    return part.with_name(f".a.png.{'0' * 12}-{part.name.split('-', 1)[1]}")


PARTS: dict[str, tuple[Callable[[Path], Path], float, bool]] = {
    "own": (lambda part: part, 0, True),
    "own, days old": (lambda part: part, 2 * FORGOTTEN, True),
    "number of a dead process": (other_start, 0, False),
    "another machine": (other_machine, 0, True),
    "another machine, days old": (other_machine, 2 * FORGOTTEN, False),
    "unknown writer": (lambda part: part.with_name(".a.png.x.part"), 0, True),
    "unknown writer, days old": (lambda part: part.with_name(".a.png.x.part"), 2 * FORGOTTEN, False),
    "no part": (lambda part: part.with_name("a.part"), 2 * FORGOTTEN, True),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_are_judged_by_their_writer(tmp_path: Path, case: str) -> None:
    make, age, stays = PARTS[case]
    part = make(Path(part_of(tmp_path / "a.png")))
    part.write_bytes(b"x")
    os.utime(part, (time.time() - age,) * 2)
    remove_orphans(tmp_path)
    remove_orphans(tmp_path / "no such folder")
    assert part.exists() == stays


@pytest.mark.parametrize(("name", "stays"), [("train.json", False), ("training.json", True), ("other.json", True)])
def test_among_files_of_others_only_parts_of_own_files_are_removed(tmp_path: Path, name: str, stays: bool) -> None:
    part = other_start(Path(part_of(tmp_path / name)))
    part = part.with_name(part.name.replace("a.png", name))
    part.write_bytes(b"x")
    remove_orphans(tmp_path, of="train.")
    assert part.exists() == stays


def test_names_of_parts_stay_short_enough(tmp_path: Path) -> None:
    write_atomically(tmp_path / f"{'ä' * 120}.png", b"x")
    write_atomically(tmp_path / ("a" * 255), b"x")
    assert len(list(tmp_path.iterdir())) == 2
