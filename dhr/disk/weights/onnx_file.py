"""An ONNX file opened by onnxruntime, which runs no code but its own."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dhr.core.errors import InputError


def onnx_session(model: bytes | Path, *, threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    Args:
        model: the file, or what is in it.
        threads: of its computation.

    Raises:
        InputError: onnxruntime is not installed, or there is no whole ONNX file.
    """
    place = model if isinstance(model, Path) else "onnx"
    if find_spec("onnxruntime") is None:
        cure = "pip install onnxruntime, or dhr[export]"
        raise InputError(f"{place}: needs onnxruntime, which is not installed; {cure}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it has to say comes as an error too
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of classes of its own
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{place}: no whole ONNX file ({said}); export the run anew") from error


def onnx_texts(path: Path) -> dict[str, str]:
    """The texts beside the graph.

    Raises:
        InputError: as for `onnx_session`.
    """
    return dict(onnx_session(path).get_modelmeta().custom_metadata_map)
