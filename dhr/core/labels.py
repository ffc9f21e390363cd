"""Labels and label sets with a meaning of their own."""

IGNORE = 255  # label of pixels that are never trained on and never scored
OWN = "own"  # table of classes that a data set states itself, of images of the user's own
GIVEN = "given"  # the WSS masks as they are: a row of every table of label sets
