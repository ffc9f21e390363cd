"""Whether wandb would send curves: what its settings say, in the environment and in its files, and its login."""

import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CLOUD = ("api.wandb.ai", "api.forge.coreweave.com")  # two names of one place: a key for one is a key for the other
TOLD = {"dryrun": "offline", "offline": "offline", "disabled": "disabled"}


def wandb_mode(mode: str) -> str:
    """What `logger.mode` means on this machine: "online", "offline" or "disabled".

    Args:
        mode: "auto" is what wandb was told (`WANDB_MODE`, its settings files), else online where there is a key, else
            offline; other modes mean themselves.

    Raises:
        ValueError: wandb does not understand its own settings.
    """
    if mode != "auto":
        return mode
    from wandb.sdk import wandb_setup  # half a second that --help should not wait for

    settings = wandb_setup.singleton().settings
    if os.environ.get("WANDB_MODE") == "online":  # which is its default too: only the variable is somebody's word
        return "online"
    return TOLD.get(settings.mode, "online" if _has_key(settings) else "offline")


def _has_key(settings: Any) -> bool:
    if settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    host = urlsplit(settings.base_url).netloc
    try:
        logins = netrc.netrc(_netrc_file())
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False
    return any((logins.authenticators(each) or ("", "", ""))[2] for each in (CLOUD if host in CLOUD else (host,)))


def _netrc_file() -> Path:
    """The file that wandb writes a key to when somebody logs in."""
    if "NETRC" in os.environ:
        return Path(os.environ["NETRC"]).expanduser()
    home = Path.home()
    return next((path for path in (home / ".netrc", home / "_netrc") if path.exists()), home / ".netrc")
