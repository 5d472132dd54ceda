"""The generated part of a documentation page: between two comments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BEGIN, END = "<!-- peers.py: begin -->", "<!-- peers.py: end -->"
_ALT = "Queries per second against recall, one column per set, one line per method"


def write(
    page: Path, goals: Sequence[str], details: Mapping[str, Sequence[str]], picture: Path
) -> None:
    """Replace the generated part of a page.

    Parameters
    ----------
    page
        The Markdown file, with both comments.
    goals
        The lines of the table of ratios.
    details
        The lines of the tables of each set, by its title; shown on demand.
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
    folded = [line for name, lines in details.items() for line in _folded(name, lines)]
    body = "\n".join([BEGIN, "", f"![{_ALT}]({link})", "", *goals, "", *folded, END])
    page.write_text(before + body + after, encoding="utf-8")


def _folded(name: str, lines: Sequence[str]) -> Iterator[str]:
    yield from ("<details>", f"<summary>{name}: all methods</summary>", "")
    yield from (*lines, "", "</details>", "")
