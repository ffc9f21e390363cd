"""Dilation rates of the DeepLab decoders, which look equally far at both output strides."""

from dhr.core.errors import InputError


def rates_at(output_stride: int, rates: tuple[int, ...]) -> tuple[int, ...]:
    """Rates, given for output stride 8, at stride 8 or 16.

    Raises:
        InputError: another stride: the field of view would be lost in so coarse a map.
    """
    if output_stride not in (8, 16):
        raise InputError(
            f"decoder: DeepLab decoders take a backbone of output stride 8 or 16, not {output_stride}; "
            "use decoder=mask2former, or a backbone such as resnet101"
        )
    return tuple(rate * 8 // output_stride for rate in rates)
