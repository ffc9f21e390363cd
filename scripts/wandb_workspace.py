"""Lays out the panels of a wandb project, in the order in which a run is read; prints the address of the view.

    python scripts/wandb_workspace.py <project> [entity]

Runs of `logger=wandb` fill it. The project's own view stays as it is: this is a saved view beside it.
"""

import argparse
import sys
from importlib import import_module
from typing import Any

from dhr.training.metrics import (
    CLASSES,
    FEATURE_PICTURES,
    LABEL_SCORES,
    LABELS,
    LOSSES,
    SCORES,
    STEP,
    TRAINING_PICTURES,
    VALIDATION_PICTURES,
)

TITLES = {
    "train/label_seeded": "pixels seeded in step 1, share",
    "train/label_restored": "classes restored, per image",
    "train/label_disagreement": "pseudo mask against WSS mask, share of pixels",
    "train/label_residual": "residual of the transport",
}
CURVES = {"scores": SCORES, "labels": (*LABELS, *LABEL_SCORES), "losses": LOSSES}
TABLES = {"classes": CLASSES}
PICTURES = {"pictures": (VALIDATION_PICTURES, TRAINING_PICTURES, *FEATURE_PICTURES)}


def layout(project: str, entity: str) -> Any:
    """The view as an object of wandb-workspaces, not saved yet.

    Raises:
        ImportError: wandb-workspaces is not installed.
    """
    views = import_module("wandb_workspaces.workspaces")
    panels = import_module("wandb_workspaces.reports.v2")
    sections = {
        name: [panels.LinePlot(title=TITLES.get(key, key), x=STEP, y=[key]) for key in keys]
        for name, keys in CURVES.items()
    }
    sections |= {name: [panels.WeavePanelSummaryTable(table_name=key)] for name, key in TABLES.items()}
    sections |= {
        name: [panels.MediaBrowser(title=key, media_keys=[key], num_columns=4) for key in keys]
        for name, keys in PICTURES.items()
    }
    columns = views.SectionLayoutSettings(columns=3, rows=2)
    return views.Workspace(
        entity=entity,
        project=project,
        name="dhr",
        sections=[
            views.Section(name=name, panels=shown, is_open=True, layout_settings=columns)
            for name, shown in sections.items()
        ],
        settings=views.WorkspaceSettings(x_axis=STEP, max_runs=20),
    )


def main() -> None:
    """Saves the view; ends with 2 where something of the user's is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("project", help="as in logger.project")
    parser.add_argument("entity", nargs="?", help="team or user; yours if it is left out")
    given = parser.parse_args()
    try:
        wandb = import_module("wandb")
        import_module("wandb_workspaces.workspaces")
    except ImportError as error:
        sys.exit(_said(f"{error}; pip install wandb-workspaces"))
    try:
        print(layout(given.project, given.entity or wandb.Api().default_entity or "").save().url)
    except (wandb.errors.Error, ValueError, OSError) as error:
        sys.exit(_said(f"{given.project}: not saved ({error}); wandb login, and give a project that has a run"))


def _said(message: str) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
