"""Labels and label sets with a meaning of their own."""

IGNORE = 255  # label of pixels that are never trained on and never scored
GIVEN = "given"  # the WSS masks as they are: a row of every table of label sets
