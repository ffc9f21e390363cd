"""YAML files of other installed packages, behind ours: an option of ours always wins."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from dhr.config.outside import config_folders


class OutsideConfigs(SearchPathPlugin):
    """Adds the folders that packages declare as entry points `dhr.configs`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra whenever it looks for files."""
        for declared, folder in config_folders():
            if folder is not None:
                search_path.append(declared, f"file://{folder}")
