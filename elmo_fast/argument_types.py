"""Types of arguments that are chosen by name, and of NumPy results, for type checkers and editors.

Functions take `Precision | str` and the like: an editor offers the names, and a variable that is just a `str` is
accepted too. An unknown name is a ValueError when the function is called.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

StateMode = Literal["carry", "reset", "frozen"]
"""`elmo_fast.state.STATE_MODES`."""

Precision = Literal["float32", "bf16x3", "bf16x2", "bfloat16", "int8"]
"""`elmo_fast.precision.PRECISIONS`."""

Pooling = Literal["tokens", "mean", "max"]
"""`elmo_fast.embedder.POOLINGS`."""

LayerChoice = Literal["average", "all", "top"]
"""`elmo_fast.layer_combination.LAYERS`."""

OutputFormat = Literal["all", "top", "average"]
"""`elmo_fast.outputs.hdf5.OUTPUT_FORMATS`."""

Mix = Literal["scalar", "additive"]
"""The mixes of `elmo_fast.Elmo`."""

FloatArray = npt.NDArray[np.float32]
"""A float32 NumPy array."""
