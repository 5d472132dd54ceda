"""The generated part of a documentation page: between two comments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

BEGIN, END = "<!-- peers.py: begin -->", "<!-- peers.py: end -->"
_ALT = "Queries per second against recall, one column per set, one line per method"


def write(page: Path, lines: Sequence[str], picture: Path) -> None:
    """Replace the generated part of a page.

    Parameters
    ----------
    page
        The Markdown file, with both comments.
    lines
        The tables.
    picture
        The image file to show, given by its path relative to the page.

    Raises
    ------
    ValueError
        If a comment is missing.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines '{BEGIN}' and '{END}' for the tables")
    link = Path(os.path.relpath(picture, page.parent)).as_posix()
    body = "\n".join([BEGIN, "", f"![{_ALT}]({link})", "", *lines, "", END])
    page.write_text(before + body + after, encoding="utf-8")
