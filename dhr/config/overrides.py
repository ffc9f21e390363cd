"""What was typed: key=value words, checked before Hydra sees them, and Hydra's own complaints in our words."""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from dhr.config.check import UNWRITABLE, unknown_key
from dhr.config.groups import groups
from dhr.config.schema import SCHEMAS
from dhr.config.tree import is_group, options
from dhr.core.errors import InputError
from dhr.core.words import nearest

# Of Hydra's own keys; callbacks, logging classes and the environment of the job would run what a file says.
HYDRA_KEYS = ("run", "sweep", "launcher", "sweeper", "mode", "verbose", "output_subdir", "job", "searchpath")
BY_OPTION = ("launcher", "sweeper")  # hydra/launcher=process, not hydra.launcher={...}: such a node would be called
CHOSEN_INSIDE = {  # keys whose values are options of a group, as Hydra writes them
    "wss.source": "wss@wss.source",
    "wss.recipe.grounder": "grounder@wss.recipe.grounder",
}
WITHOUT = {"wss.source": "starts from no other", "wss.recipe.grounder": "asks no grounder"}
OWN_DATA = "images of your own: python -m dhr.prepare dataset=folder name=<yours> images=<folder> tags=<file>"
FROM_RUN = {*groups("stored"), "seed", "tau"} - {*groups("retypable")}


def parse(words: Sequence[str]) -> list[Override]:
    """Typed words as Hydra understands them.

    Raises:
        InputError: a word is not of the form key=value.
    """
    try:
        return list(OverridesParser.create().parse_overrides(list(words)))
    except OverrideParseException as error:
        raise InputError(f"{error.override}: not of the form key=value; quote special characters") from error


def check_typed(verb: str, words: Sequence[str]) -> list[Override]:
    """Parses typed words and refuses keys that the command does not have.

    Raises:
        InputError: malformed or unknown, or stored in the run that is worked on.
    """
    overrides = parse(words)
    known = {*SCHEMAS[verb].model_fields} | {"hydra"} | ({"experiment"} if verb == "train" else set())
    for override in overrides:
        root = root_key(override)
        if root not in known or root == "choices":
            raise unknown_key("", override.key_or_group, value_of(override), known - {"hydra"})
        if root == "hydra":
            _check_hydra_key(override)
        elif override.value() is None and not override.is_delete() and is_group(override.key_or_group):
            allowed = ", ".join(options(override.key_or_group))
            raise InputError(f"{override.key_or_group}: null: one of its options is due; allowed: {allowed}")
        elif override.key_or_group in CHOSEN_INSIDE and override.is_sweep_override():
            _check_swept_choice(override)
    _refuse_stored(overrides)
    return overrides


def _check_swept_choice(override: Override) -> None:
    if "null" in override.sweep_string_iterator():
        key = override.key_or_group
        raise InputError(f"{key}: {value_of(override)}: null cannot be one of several; run {key}=null on its own")


def value_of(override: Override) -> str:
    """The value as text, without the quotes that keep it from Hydra's grammar."""
    return typed.text if isinstance(typed := override._value, QuotedString) else str(override.get_value_string())


def root_key(override: Override) -> str:
    """First word of a key: trainer.max_epochs -> trainer, hydra/launcher -> hydra."""
    return re.split(r"[./@]", override.key_or_group, maxsplit=1)[0]


def loosen(word: str) -> str:
    """Lets key=value reach what no file lists, for instance trainer.limit_train_batches; check 1 judges it."""
    key, equals, value = word.partition("=")
    if key in CHOSEN_INSIDE and equals and value != "null" and not value.startswith(("{", "[")):
        return f"{CHOSEN_INSIDE[key]}={value}"
    plain = re.fullmatch(r"[A-Za-z_][\w.]*", key) is not None and "=" in word
    return f"++{word}" if plain and not is_group(key) and not key.startswith("hydra.") else word


def tighten(word: str) -> str:
    """What `loosen` made of a word, as it was typed.

    >>> tighten("wss@wss.source=cam"), tighten("++tau=0.7"), tighten("wss=cam")
    ('wss.source=cam', 'tau=0.7', 'wss=cam')
    """
    for key, inside in CHOSEN_INSIDE.items():
        if word.startswith(f"{inside}="):
            return key + word.removeprefix(inside)
    return word.removeprefix("++")


def explain(error: Exception) -> str:
    """Message of an error of ours, of Hydra or of OmegaConf, in the form place: value: problem; cure.

    What no terminal can show, such as bytes of a name that are no text, is written as an escape.
    """
    hidden = re.compile(rf"(?!\n){UNWRITABLE.pattern}")
    return hidden.sub(lambda found: ascii(found[0])[1:-1], _message(error))


def _message(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = sorted(error.options)
        if f"In '{group}/" in str(error):  # asked for by another option of the group
            group = next((key for key, inside in CHOSEN_INSIDE.items() if inside.startswith(f"{group}@")), group)
        own = f"; {OWN_DATA}" if group == "dataset" else ""
        return f"{group}: {option}: no such option; {nearest(option, options)}allowed: {', '.join(options)}{own}"
    for key, inside in CHOSEN_INSIDE.items():
        if f"Could not override '{inside}'" in str(error):
            return f"{key}: this method {WITHOUT[key]}; leave it out, or choose {key.partition('.')[0]}=<another>"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {str(error.msg).splitlines()[0]}"
    cause = "" if isinstance(error, InputError) or error.__cause__ is None else f"\n{error.__cause__}"
    return "\n".join(line for line in f"{error}{cause}".splitlines() if not line.startswith("To append to your"))


def _check_hydra_key(override: Override) -> None:
    keys = re.split(r"[./@]", override.key_or_group)
    inner = keys[1] if len(keys) > 1 else ""
    by_value = inner in BY_OPTION and override.key_or_group != f"hydra/{inner}"
    if inner not in HYDRA_KEYS or by_value or {"_target_", "env_set"} & {*keys}:
        allowed = ", ".join(f"hydra{'/' if key in BY_OPTION else '.'}{key}" for key in HYDRA_KEYS)
        raise InputError(f"{override.key_or_group}: {value_of(override)}: not allowed; of Hydra's keys: {allowed}")
    if inner == "searchpath" and "pkg:" in value_of(override):  # would import the package
        raise InputError(f"{override.key_or_group}: {value_of(override)}: not allowed; name folders")


def _refuse_stored(overrides: Sequence[Override]) -> None:
    """A run carries its configuration with it; typing a part of it again could only contradict it."""
    typed = {root_key(override): override for override in overrides}
    if "run" not in typed or typed["run"].value() is None:
        return
    for root in sorted(FROM_RUN & {*typed}):
        value, run = value_of(typed[root]), value_of(typed["run"])
        raise InputError(f"{typed[root].key_or_group}: {value}: is stored in the run {run}; leave it out")
