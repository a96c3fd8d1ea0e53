"""Sound in whatever array a caller has."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def floating(audio: ArrayLike) -> NDArray[np.floating]:
    """Audio as an array of floating point, of its own shape; what is one is not copied.

    Raises:
        TypeError: It holds integers, which nobody scaled, or no numbers.
    """
    array = np.asarray(audio)
    if array.dtype.kind != "f":
        raise TypeError(
            f"audio must be floating point in -1…1, not {array.dtype}; scale integers first"
        )
    return array
