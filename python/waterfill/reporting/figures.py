"""Matplotlib figures that display themselves in notebooks."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from waterfill._util.optional import require


def new_figure(**options: Any) -> Any:
    """Return a figure that is not registered with pyplot, and that a notebook shows.

    Parameters
    ----------
    options : dict
        Arguments of ``matplotlib.figure.Figure``.
    """
    return _kind(require("matplotlib.figure", "plot", "plot").Figure)(**options)


@cache
def _kind(figure: Any) -> Any:
    class Figure(figure):  # type: ignore[misc]
        """A figure that a notebook shows without pyplot, which would register another backend."""

        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png")
            return picture.getvalue()

    return Figure
