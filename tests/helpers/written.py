"""What stands in the file of an option, for lists of cases, which every process of the tests makes as it begins."""

from functools import cache
from typing import Any

import yaml

from dhr.config.tree import config_folder


@cache
def written(group: str, option: str) -> dict[str, Any]:
    """Keys of an option, over those of the options of its group that it is made from; nothing is resolved."""
    keys = dict(yaml.safe_load((config_folder() / group / f"{option}.yaml").read_text()))
    below = [name for name in keys.pop("defaults", ()) if isinstance(name, str) and name != "_self_"]
    return {key: value for name in below for key, value in written(group, name).items()} | keys
