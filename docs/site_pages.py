"""Collect the pages of the site: those of docs/, and some of other folders.

``python docs/site_pages.py build/site-pages`` copies them. Pages link each other by their paths in
the repository, so that they work on GitHub and in an editor; the copies link the pages of the site.
A link to a file that is no page leads to the repository, and one that leads nowhere is an error.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = "https://github.com/waterfill/waterfill/blob/main/"
# By path in the repository: the page of the site.
OUTSIDE = {
    "README.md": "index.md",
    "docs/README.md": "all-pages.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "cpp/FORMAT.md": "format.md",
    "bench/README.md": "bench.md",
    "bench/datasets.md": "datasets.md",
    "bench/adapters/README.md": "adapters.md",
    "tests/samples/README.md": "samples.md",
    "examples/container/README.md": "container.md",
    "examples/monitoring/README.md": "monitoring.md",
}
# By the title of a part: its pages.
PARTS = {
    "Start": "tutorial how-it-works notebooks/how-many-bytes notebooks/drift "
    "size optimize faiss migration answers faq comparison "
    "benchmarks",
    "Indexes": "managed folder mapped-files gpu graph scores bad-input",
    "FAISS": "faiss-functions faiss-export",
    "Where your vectors are": "integrations stores columns",
    "Large collections": "build scale distributed small-machines platforms",
    "Tools": "cli long-calls report all-pages",
    "Operate": "service container serving batching capacity overload metrics monitoring drift "
    "drift-detectors lifecycle",
    "Reference": "reference/index format",
    "Project": "changelog releases contributing architecture kernels peers roofline bench adapters "
    "datasets samples security decisions/README",
}
# By page: the pages below it.
BELOW = {
    "reference/index.md": "indexes searches codecs optimizer faiss folders vectors scale lifecycle "
    "serving integrations",
    "decisions/README.md": "0*",
}
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SCHEME = re.compile(r"[a-z]+:")


def pages() -> Iterator[tuple[str, str]]:
    """Yield the path of each page in the repository, and on the site."""
    yield from OUTSIDE.items()
    for file in sorted((ROOT / "docs").rglob("*.md")):
        path = file.relative_to(ROOT).as_posix()
        if path not in OUTSIDE:
            yield path, path.removeprefix("docs/")


def converted(text: str, own: str, page: str) -> str:
    """Return the text of a page with links of the site.

    Parameters
    ----------
    text : str
    own, page : str
        Paths of the page in the repository and on the site.

    Raises
    ------
    ValueError
        If a link leads nowhere.
    """
    lines, fenced = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if not fenced:
            line = _LINK.sub(lambda match: f"]({_target(match[1], own, page)})", line)
        lines.append(line)
    return "\n".join(lines) + "\n"


def _target(link: str, own: str, page: str) -> str:
    """Return where a link leads from the page of the site."""
    path, mark, anchor = link.partition("#")
    if not path or _SCHEME.match(path):
        return link
    there = posixpath.normpath(posixpath.join(posixpath.dirname(own), path))
    if not (ROOT / there).exists():
        raise ValueError(f"{own}: the link {link} leads nowhere")
    if there in OUTSIDE:
        there = OUTSIDE[there]
    elif there.startswith("docs/") and (ROOT / there).is_file():
        there = there.removeprefix("docs/")
    else:
        return f"{SOURCES}{there}{mark}{anchor}"
    return posixpath.relpath(there, posixpath.dirname(page) or ".") + mark + anchor


def contents(page: str) -> str:
    """Return the table of contents that a page adds to the side bar."""
    if page == "index.md":
        return "".join(map(_contents, PARTS, PARTS.values()))
    return _contents("", BELOW[page]) if page in BELOW else ""


def _contents(caption: str, names: str) -> str:
    lines = ["```{toctree}", ":hidden:", ":glob:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", *lines, "", *names.split(), "```", ""])


def collect(target: Path) -> None:
    """Write the pages, and copy pictures and the configuration, into an empty folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "docs", target, ignore=shutil.ignore_patterns("*.md", "__pycache__"))
    for own, page in pages():
        text = (ROOT / own).read_text(encoding="utf-8")
        (target / page).parent.mkdir(parents=True, exist_ok=True)
        text = converted(text, own, page) + contents(page)
        (target / page).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    collect(Path(sys.argv[1]))
