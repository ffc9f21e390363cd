"""Class names as a person would write them."""

WRITTEN = {  # names of our class tables that no rule makes readable
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "tvmonitor": "tv monitor",
    "playingfield": "playing field",
    "waterdrops": "water drops",
    "window-blind": "window blind",
}
WITHOUT_MEANING = ("other", "stuff")  # second parts of names such as sky-other and door-stuff


def readable(name: str) -> str:
    """A class name in words.

    >>> [readable(name) for name in ("tvmonitor", "wall-brick", "sky-other", "ember_disc", "traffic light")]
    ['tv monitor', 'brick wall', 'sky', 'ember disc', 'traffic light']
    """
    if name in WRITTEN:
        return WRITTEN[name]
    what, _, which = name.partition("-")
    words = f"{which} {what}" if which and which not in WITHOUT_MEANING else what
    return words.replace("_", " ").replace("-", " ").strip()
