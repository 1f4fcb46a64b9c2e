"""TensorFlow, imported when it is needed and set so that equal seeds give equal results."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import Any

from ..errors import UsageError


@lru_cache(maxsize=1)
def tensorflow() -> Any:
    """The TensorFlow module, deterministic and on the CPU.

    Kernels are asked to be deterministic (`tf.config.experimental.enable_op_determinism`), so that a run can be
    repeated, and resumed, bit for bit on the same machine.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # start-up notes about GPUs that nobody asked for
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UsageError(
            "training needs TensorFlow, which is not installed", hint="pip install 'boardfit[train]'"
        ) from error
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    tf.config.experimental.enable_op_determinism()
    return tf
