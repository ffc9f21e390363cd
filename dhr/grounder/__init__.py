"""Open-vocabulary models, the rivals of weak supervision: masks of an image for the names of classes."""
