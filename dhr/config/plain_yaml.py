"""YAML that came from elsewhere: what it may be, before it is read."""

import yaml  # type: ignore[import-untyped]

LONGEST = 100_000  # bytes; ours have some thousand
DEEPEST = 32  # nodes inside nodes; ours have six


def is_plain(text: str) -> bool:
    """False for what we never write: anchors and boxes in boxes, which can take for ever, and interpolations.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            return False
    return "${" not in text
