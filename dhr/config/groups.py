"""The config groups, in one table: whose classes may stand in them, and what becomes of their choice."""

from dataclasses import dataclass
from typing import Literal

from dhr.config.outside import outside_targets
from dhr.config.signatures import unreadable
from dhr.config.tree import named_targets


@dataclass(frozen=True)
class Group:
    """A folder of options under `configs/`.

    Attributes:
        home: package, or name, that the classes of its nodes begin with; empty for a group without nodes.
        guests: groups whose classes may stand inside its nodes too.
        supplied: arguments that the program gives when it builds a node, so no file may.
        preset: brought by a dataset file, whether the command uses it or not.
        stored: commands that work on a run take it from there, and it cannot be typed beside run=.
        retypable: stored, but what is typed wins.
        in_name: its choice is a part of a run's name; in the order of the table.
        usual: what a training does unless something else is chosen: not written into its name, and all that can be
            done without a rebalancer.
    """

    home: str = ""
    guests: tuple[str, ...] = ()
    supplied: frozenset[str] = frozenset()
    preset: bool = False
    stored: bool = False
    retypable: bool = False
    in_name: bool = False
    usual: str | None = None


OF_DECODER = frozenset({"backbone_channels", "output_stride", "num_classes"})
OF_TRAINER = frozenset({"logger", "callbacks", "default_root_dir", "plugins"})
GROUPS = {
    "dataset": Group("dhr.dataset.original.", stored=True),
    "wss": Group("dhr.wss.", ("cam", "backbone", "optimizer", "grounder"), preset=True, stored=True, in_name=True),
    "cam": Group("dhr.wss.", ("backbone", "optimizer"), preset=True),
    "uss": Group("dhr.uss.", ("cause", "stego"), preset=True, stored=True),
    "cause": Group("dhr.uss.", preset=True),
    "stego": Group("dhr.uss.", preset=True),
    "rebalancing": Group("dhr.rebalancing.", supplied=frozenset({"first_tag", "crf"}), stored=True, in_name=True),
    "backbone": Group("dhr.backbone.", preset=True, stored=True, in_name=True),
    "decoder": Group("dhr.decoder.", supplied=OF_DECODER, preset=True, stored=True),
    "classifier": Group("dhr.classifier.", supplied=frozenset({"in_channels", "num_tags"}), preset=True, stored=True),
    "label_maker": Group("dhr.training.", stored=True, usual="student"),
    "refresh": Group("dhr.training.", stored=True, usual="step"),
    "features": Group("dhr.training.", stored=True, usual="stored"),
    "crf": Group("dhr.crf.", preset=True, stored=True, retypable=True),
    "optimizer": Group("dhr.training.", preset=True, stored=True),
    "trainer": Group("pytorch_lightning.Trainer", supplied=OF_TRAINER, stored=True),
    "logger": Group(stored=True),
    "grounder": Group("dhr.grounder."),
}


def groups(mark: Literal["preset", "stored", "retypable", "in_name", "usual"]) -> list[str]:
    """Names of the groups that have a mark, in the order of the table."""
    return [name for name, group in GROUPS.items() if getattr(group, mark)]


def classes_of(group: str) -> frozenset[str]:
    """The allow-list: classes that a file of the group or of a guest names and that lie in that one's home.

    And those that installed packages declare for these groups, see `dhr.config.outside`.
    """
    own = GROUPS.get(group, Group())
    named = (group, *own.guests) if own.home else ()
    found = [(GROUPS[name].home, target) for name in named for target in named_targets(name)]
    ours = frozenset(target for home, target in found if target.startswith(home))
    return ours.union(target for name in named for target in outside_targets(name) if unreadable(target) is None)
