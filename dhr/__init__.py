"""DHR: weakly-supervised semantic segmentation by dual-features-driven hierarchical rebalancing."""

__version__ = "0.1.0"
