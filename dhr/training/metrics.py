"""Names of all that a training logs: columns of metrics.csv, and what the panels of wandb show.

`scripts/wandb_workspace.py` lays the panels out; a test compares these names with what a run has logged.
"""

from dhr.rebalancing.statistics import STATISTICS

STEP = "trainer/global_step"  # Lightning's axis of the panels in wandb
LOSSES = ("train/loss", "train/loss_segmentation", "train/loss_classification", "train/lr")
LABELS = tuple(f"train/label_{name}" for name in STATISTICS)
LABEL_SCORES = ("train/label_miou", "train/label_mfpr", "train/label_mfnr")
SCORES = ("validation/miou", "validation/mfpr", "validation/mfnr")
CURVES = (*LOSSES, *LABELS, *LABEL_SCORES, *SCORES)  # numbers, for every logger; the others are for wandb alone
CLASSES = "validation/classes"
VALIDATION_PICTURES = "pictures/validation"
TRAINING_PICTURES = "pictures/training"
FEATURE_PICTURES = ("pictures/features", "pictures/clusters")
SHOWN = (CLASSES, VALIDATION_PICTURES, TRAINING_PICTURES, *FEATURE_PICTURES)
