"""The two losses of DHR, weighted 1 : 1, in float32 whatever the precision of the network."""

from torch import Tensor
from torch.nn import functional

from dhr.core.labels import IGNORE
from dhr.core.numerics import masked_mean, resize_labels
from dhr.runtime.ranks import mean_over_ranks


def segmentation_loss(logits: Tensor, pseudo_mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross entropy of (B,K,h,w) logits against (B,H,W) labels resized nearest to them.

    The mean over the labelled cells of all processes together: every cell counts the same, whichever process has it
    and however much padding lies beside it. 0, and differentiable, where every label is IGNORE.

    Args:
        logits: of the network.
        pseudo_mask: the labels.
        weights: (B,H,W) float, of the entropy at each label, resized as the labels are; the entropies are still
            divided by the number of labelled cells. None: 1 everywhere.

    >>> import torch
    >>> logits = torch.tensor([[[[0.0, 0.0]], [[0.0, 9.0]]]])  # undecided; sure of class 1
    >>> segmentation_loss(logits, torch.tensor([[[0, IGNORE]]]))
    tensor(0.6931)
    >>> segmentation_loss(logits, torch.tensor([[[IGNORE, IGNORE]]]))
    tensor(0.)
    >>> segmentation_loss(logits, torch.tensor([[[0, 0]]]), torch.tensor([[[1.0, 0.0]]]))  # the second: half of nothing
    tensor(0.3466)
    """
    size = (logits.shape[-2], logits.shape[-1])
    labels = resize_labels(pseudo_mask, size).long()
    if weights is None:
        total = functional.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    else:
        entropy = functional.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
        total = (entropy * resize_labels(weights, size)).sum()
    count = mean_over_ranks((labels != IGNORE).sum())
    return total / count.masked_fill(count == 0, 1.0)


def tag_loss(cams: Tensor, valid: Tensor, tags: Tensor) -> Tensor:
    """Multi-label soft margin loss of the tags; the logit of a tag is the mean of its CAM over the valid cells.

    Args:
        cams: (B,T,h,w) signed scores.
        valid: (B,H,W) bool, where the crop shows image.
        tags: (B,T) 0/1.

    >>> import torch
    >>> cams = torch.tensor([[[[2.0, -2.0, 50.0]]]])  # the last cell lies off the image
    >>> tag_loss(cams, torch.tensor([[[True, True, False]]]), torch.ones(1, 1))  # the mean is 0: probability one half
    tensor(0.6931)
    """
    grid = (cams.shape[-2], cams.shape[-1])
    cells = functional.adaptive_max_pool2d(valid[:, None].float(), grid) > 0
    return functional.multilabel_soft_margin_loss(masked_mean(cams.float(), cells), tags)
