"""Split documents into passages with file and line numbers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORDS = 90  # approximate length of a passage; longer paragraphs are split between lines
KINDS = (".md", ".txt", ".py")

_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')*`]*\s+(?=[\"'(*`]*[A-Z0-9])")
_STARTS_ANEW = re.compile(r"\s*([-*+|>]|\d+[.)])\s|\s*```")  # list items, rows of tables, fences
_RULE = re.compile(r"[\s|:=-]*$")  # table rules: no words

Line = tuple[int, str]
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Passage:
    """Consecutive lines of a document.

    Attributes
    ----------
    source : str
        File, relative to the folder of documents.
    first, last : int
        Line numbers in the file, from 1.
    heading : str
        Headings above it, outermost first; for a docstring, the name of its object.
    text : str
    """

    source: str
    first: int
    last: int
    heading: str
    text: str

    @property
    def place(self) -> str:
        """File and lines, in the form that editors and terminals recognise."""
        lines = f"{self.first}-{self.last}" if self.last > self.first else f"{self.first}"
        return f"{self.source}:{lines}"

    @property
    def embedded(self) -> str:
        """Text to embed: the heading names the topic, which the text seldom repeats."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


def read_folder(folder: Path) -> list[Passage]:
    """Return the passages of all documents in a folder and its subfolders.

    Parameters
    ----------
    folder : Path
        Markdown, plain text and the docstrings of Python files are read; other files are ignored.

    Returns
    -------
    list of Passage

    Raises
    ------
    ValueError
        If `folder` is not a folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
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
        File name; the suffix determines the format.

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
    """Return sentences, table rows and list items of a passage, with their line numbers."""
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
    """Yield blocks of lines that a sentence may span."""
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
    """Join lines into a passage; blank lines are kept, so that line numbers match the file."""
    first, last = part[0][0], part[-1][0]
    lines = dict(part)
    text = "\n".join(lines.get(number, "") for number in range(first, last + 1))
    return Passage(source, first, last, heading, text)


def _sections(text: str, markdown: bool) -> Iterator[tuple[str, list[Line]]]:
    """Yield the path of each heading and the lines below it."""
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
    """Yield the docstrings of a module, with the names of their objects."""
    try:
        yield from _docstrings_of(ast.parse(text), "")
    except (SyntaxError, ValueError):
        return  # a template, or another version of Python: skip this file only


def _docstrings_of(node: _Documented, name: str) -> Iterator[tuple[str, list[Line]]]:
    written = ast.get_docstring(node, clean=False)
    if written:
        yield name, list(enumerate(written.splitlines(), node.body[0].lineno))
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings_of(child, f"{name}.{child.name}".lstrip("."))


def _parts(lines: list[Line]) -> Iterator[list[Line]]:
    """Split a section into passages, between paragraphs if possible."""
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
    """Yield paragraphs; long ones are split into pieces of at most a passage."""
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
