"""HTML elements for pages and notebooks, foremost tables. All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def text(value: object) -> str:
    """Escape for the inside of an element or of a quoted attribute."""
    return escape(str(value), quote=True)


def paragraph(words: str, kind: str = "") -> str:
    """Return a paragraph, or an empty string without words."""
    name = f' class="{kind}"' if kind else ""
    return f"<p{name}>{text(words)}</p>" if words else ""


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    marked: int | None = None,
) -> str:
    """Return a table whose first column holds row headers.

    Parameters
    ----------
    caption : str
    header : sequence of str
    rows : iterable of sequences
    marked : int, optional
        Number of the row to emphasise.
    """
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = []
    for i, row in enumerate(rows):
        cells = [_cell(value, first=not j, strong=i == marked) for j, value in enumerate(row)]
        kind = ' class="marked"' if i == marked else ""
        body.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return (
        f"<table><caption>{text(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _cell(value: object, *, first: bool, strong: bool) -> str:
    inside = f"<strong>{text(value)}</strong>" if strong else text(value)
    return f'<th scope="row">{inside}</th>' if first else f"<td>{inside}</td>"


def scrolled(inner: str, name: str) -> str:
    """Wrap wide content in a region that scrolls sideways, also by keyboard."""
    return f'<div class="scroll" role="region" aria-label="{text(name)}" tabindex="0">{inner}</div>'


def numbers(summary: str, inner: str) -> str:
    """Return a collapsed table, the text alternative of a chart."""
    return (
        f"<details><summary>{text(summary)}</summary>{scrolled(inner, summary)}</details>"
        if inner
        else ""
    )


def items(entries: Iterable[str]) -> str:
    """Return a list."""
    return f"<ul>{''.join(f'<li>{text(entry)}</li>' for entry in entries)}</ul>"


def figures(entries: Iterable[tuple[str, str, str]]) -> str:
    """Return key figures: a name, a value and a note each."""
    return "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}"
        + (f"<small>{text(note)}</small>" if note else "")
        + "</dd></div>"
        for name, value, note in entries
    )
