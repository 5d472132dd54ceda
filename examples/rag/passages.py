"""Documents as passages that know their file and lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORDS = 90  # of a passage, about; a longer paragraph is cut at a line
KINDS = (".md", ".txt", ".py")

_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')*`]*\s+(?=[\"'(*`]*[A-Z0-9])")
_STARTS_ANEW = re.compile(r"\s*([-*+|>]|\d+[.)])\s|\s*```")  # list items, rows of tables, fences
_RULE = re.compile(r"[\s|:=-]*$")  # what draws a table, and has no words

Line = tuple[int, str]
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Passage:
    """Some lines of a document.

    Attributes
    ----------
    source : str
        File, relative to the folder of documents.
    first, last : int
        Its lines there, from 1.
    heading : str
        Titles that it stands under, outermost first; of a docstring, what it belongs to.
    text : str
    """

    source: str
    first: int
    last: int
    heading: str
    text: str

    @property
    def place(self) -> str:
        """File and lines, as editors and terminals read them."""
        lines = f"{self.first}-{self.last}" if self.last > self.first else f"{self.first}"
        return f"{self.source}:{lines}"

    @property
    def embedded(self) -> str:
        """What is embedded: a passage seldom repeats its title, which says what it is about."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


def read_folder(folder: Path) -> list[Passage]:
    """Return the passages of all documents in a folder and below it.

    Parameters
    ----------
    folder : Path
        Markdown, plain text and Python files are read, of which docstrings; the rest is passed by.

    Returns
    -------
    list of Passage

    Raises
    ------
    ValueError
        If `folder` is no folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    passages: list[Passage] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in KINDS and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            passages += read_text(text, path.relative_to(folder).as_posix())
    return passages


def read_text(text: str, source: str) -> list[Passage]:
    """Return the passages of one document.

    Parameters
    ----------
    text : str
    source : str
        Its name, whose ending says what it is.

    Returns
    -------
    list of Passage
    """
    if source.endswith(".py"):
        sections = _docstrings(text)
    else:
        sections = _sections(text, markdown=source.lower().endswith(".md"))
    return [
        _passage(source, heading, part) for heading, lines in sections for part in _parts(lines)
    ]


def sentences(passage: Passage) -> list[Line]:
    """Return the sentences of a passage, rows of tables and list items, with their line."""
    found: list[Line] = []
    for number, text in _joined(passage):
        begin = 0
        for cut in [*_SENTENCE.finditer(text), None]:
            piece = text[begin : cut.start() if cut else None]
            if _words(piece) > 2:
                found.append((number + text.count("\n", 0, begin), " ".join(piece.split())))
            begin = cut.end() if cut else begin
    return found


def _joined(passage: Passage) -> Iterator[Line]:
    """Give blocks of lines that may hold a sentence together."""
    block: list[str] = []
    start = passage.first
    for number, line in enumerate(passage.text.split("\n"), passage.first):
        if block and (not line.strip() or _STARTS_ANEW.match(line)):
            yield start, "\n".join(block)
            block = []
        if not _RULE.match(line):
            start = start if block else number
            block.append(line)
    if block:
        yield start, "\n".join(block)


def _passage(source: str, heading: str, part: list[Line]) -> Passage:
    """Put lines together, with blank ones between paragraphs: the n-th is the n-th of the file."""
    first, last = part[0][0], part[-1][0]
    lines = dict(part)
    text = "\n".join(lines.get(number, "") for number in range(first, last + 1))
    return Passage(source, first, last, heading, text)


def _sections(text: str, markdown: bool) -> Iterator[tuple[str, list[Line]]]:
    """Give the lines under each heading, with its path."""
    path: list[str] = []
    lines: list[Line] = []
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        heading = _HEADING.match(line) if markdown and not fenced else None
        if heading:
            yield " > ".join(path), lines
            level = len(heading[1])
            path, lines = [*path[: level - 1], heading[2]], []
        else:
            lines.append((number, line))
    yield " > ".join(path), lines


def _docstrings(text: str) -> Iterator[tuple[str, list[Line]]]:
    """Give the docstrings of a module, with the names that they belong to."""
    try:
        yield from _docstrings_of(ast.parse(text), "")
    except (SyntaxError, ValueError):
        return  # a template, or of another Python: others can still be read


def _docstrings_of(node: _Documented, name: str) -> Iterator[tuple[str, list[Line]]]:
    written = ast.get_docstring(node, clean=False)
    if written:
        yield name, list(enumerate(written.splitlines(), node.body[0].lineno))
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings_of(child, f"{name}.{child.name}".lstrip("."))


def _parts(lines: list[Line]) -> Iterator[list[Line]]:
    """Cut a section into passages: between paragraphs where that is possible."""
    part: list[Line] = []
    words = 0
    for paragraph in _paragraphs(lines):
        size = sum(_words(line) for _, line in paragraph)
        if part and words + size > WORDS:
            yield part
            part, words = [], 0
        part += paragraph
        words += size
    if words:
        yield part


def _paragraphs(lines: list[Line]) -> Iterator[list[Line]]:
    """Give what blank lines part; of longer ones, as many lines as a passage takes."""
    paragraph: list[Line] = []
    words = 0
    for number, line in lines:
        if paragraph and (not line.strip() or words + _words(line) > WORDS):
            yield paragraph
            paragraph, words = [], 0
        if line.strip():
            paragraph.append((number, line))
            words += _words(line)
    if paragraph:
        yield paragraph


def _words(text: str) -> int:
    return len(re.findall(r"\w+", text))
