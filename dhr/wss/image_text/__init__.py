"""Frozen models of images and texts: vectors of every cell of an image, and of texts, that can be compared."""
