"""Answers from your documents, with their sources: no network, no key, no language model.

``python rag.py index DOCS --out my.rag``, then ``python rag.py ask my.rag "a question"``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from embedding import Embedder
from library import CANDIDATES, Answer, Library, build
from passages import read_folder

NOTHING = "Nothing here seems to be about that."
INSTRUCTION = (
    "Answer the question from the numbered sources only, and cite the numbers of the sources that "
    "you used. If they do not answer the question, say so."
)


def index(folder: Path, out: Path) -> None:
    """Embed and compress the documents of a folder, and print what compression saves.

    Parameters
    ----------
    folder : Path
    out : Path
        A folder to create for the passages and the index.
    """
    start = time.perf_counter()
    passages = read_folder(folder)
    library, size = build(passages, Embedder())
    library.write(out)
    files = len({passage.source for passage in passages})
    seconds = time.perf_counter() - start
    on_disk = (out / "index.wf").stat().st_size
    print(
        f"{len(passages):,} passages of {files:,} files in {seconds:.1f} s\n"
        f"embeddings: {_kb(size.before)} as float32, {_kb(size.after)} compressed, "
        f"{size.before / size.after:.0f} times smaller ({_kb(on_disk)} on disk with the codec)\n"
        f"of the exact ten nearest, {10 * size.recall:.1f} are among the ten found and "
        f"{10 * size.kept:.2f} among the {CANDIDATES} candidates\n"
        f"wrote {out}"
    )


def ask(library: Library, question: str, most: int, prompt: bool) -> None:
    """Print answers, or the prompt for a language model.

    Parameters
    ----------
    library : Library
    question : str
    most : int
        Largest number of passages.
    prompt : bool
        Print a prompt instead of answers.
    """
    found = library.ask(question, most)
    if prompt:
        print(prompt_of(question, found))
    elif found:
        print("\n".join(_shown(answer) for answer in found))
    else:
        print(NOTHING)


def prompt_of(question: str, found: Iterable[Answer]) -> str:
    """Return a prompt for a language model: instruction, numbered sources, question.

    Parameters
    ----------
    question : str
    found : iterable of Answer

    Returns
    -------
    str
    """
    sources = [
        f"[{number}] {one.passage.place} ({one.passage.heading})\n{one.passage.text}"
        for number, one in enumerate(found, 1)
    ]
    return "\n\n".join([INSTRUCTION, *(sources or ["(no sources)"]), f"Question: {question}"])


def _shown(answer: Answer) -> str:
    passage = answer.passage
    title = f"  {passage.heading}" if passage.heading else ""
    return f"{answer.sentence}\n    {passage.source}:{answer.line}{title}  [{answer.score:.2f}]"


def _kb(size: int) -> str:
    return f"{size / 1000:,.0f} KB" if size < 10_000_000 else f"{size / 1e6:,.0f} MB"


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be at least 1")
    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    index_parser = commands.add_parser("index", help="read, embed and compress documents")
    index_parser.add_argument(
        "folder", type=Path, help="folder of Markdown, text and Python files (docstrings)"
    )
    index_parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    ask_parser = commands.add_parser("ask", help="answer a question")
    ask_parser.add_argument("library", type=Path)
    ask_parser.add_argument("question", help="the question; - reads one per line from stdin")
    ask_parser.add_argument(
        "--most", type=_count, default=3, help="number of passages (default: 3)"
    )
    ask_parser.add_argument(
        "--prompt", action="store_true", help="print a prompt for a language model"
    )
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    arguments = _arguments()
    try:
        if arguments.command == "index":
            index(arguments.folder, arguments.out)
            return
        library = Library.read(arguments.library, Embedder())
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    lines = map(str.strip, sys.stdin)
    for question in lines if arguments.question == "-" else [arguments.question]:
        if question:
            ask(library, question, arguments.most, arguments.prompt)


if __name__ == "__main__":
    main()
