"""Figures to draw pictures on; matplotlib is imported when the first one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiosep_core.extras import needed_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_drawing() -> None:
    """Whether pictures can be drawn; ask before work whose picture would be its end.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    with needed_for("a picture", "plots"):
        import matplotlib.figure  # noqa: F401


def new_figure(width: float, height: float) -> Figure:
    """An empty figure without a window, to be saved as a PNG.

    Args:
        width: In inches.
        height: In inches.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    check_drawing()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
