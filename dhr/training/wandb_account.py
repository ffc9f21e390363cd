"""Whether wandb would send curves, by its settings in the environment and in its files, and by its login."""

import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CLOUD = ("api.wandb.ai", "api.forge.coreweave.com")  # two hosts of one service: a key for one is valid for the other
TOLD = {"dryrun": "offline", "offline": "offline", "disabled": "disabled"}


def wandb_mode(mode: str) -> str:
    """What `logger.mode` means on this machine: "online", "offline" or "disabled".

    Args:
        mode: "auto" is the mode in wandb's settings (`WANDB_MODE`, its files) if it is set there, else online if there
            is a key, else offline; other modes are returned as they are.

    Raises:
        ValueError: wandb cannot read its settings.
    """
    if mode != "auto":
        return mode
    from wandb.sdk import wandb_setup  # half a second that --help should not wait for

    settings = wandb_setup.singleton().settings
    if os.environ.get("WANDB_MODE") == "online":  # the settings have it by default: only the variable was set by a user
        return "online"
    return TOLD.get(settings.mode, "online" if _has_key(settings) else "offline")


def _has_key(settings: Any) -> bool:
    if settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    host = urlsplit(settings.base_url).netloc
    try:  # the file that wandb writes a key to when somebody logs in
        if "NETRC" in os.environ:
            path = Path(os.environ["NETRC"]).expanduser()
        else:
            files = [Path.home() / name for name in (".netrc", "_netrc")]
            path = next((file for file in files if file.exists()), files[0])
        logins = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False
    hosts = CLOUD if host in CLOUD else (host,)
    return any((logins.authenticators(name) or ("", "", ""))[2] for name in hosts)
