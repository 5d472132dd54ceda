"""The environment that a page of docs/ tells its reader to install, made of the one of the tests.

A page names packages in `pip install` and extras of waterfill, as in `pip install ".[faiss]"`. All
that they require may be imported; other distributions that the tests have installed may not.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_INSTALL = re.compile(r"pip install ([^`\n#|]+)")
_WORD = re.compile(r'"[^"]+"|\S+')
_PACKAGE = re.compile(r"[A-Za-z][\w-]*(\[[\w,-]+\])?([=<>!~].+)?")  # not an option, nor a path
_EXTRA = re.compile(r"\[([\w, -]+)\]")

# Put before a program: imports fail as where nobody installed the modules.
PRELUDE = """
import sys

class _Absent:
    names = frozenset({names!r})

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError("No module named %r" % name, name=name)
        return None

sys.meta_path.insert(0, _Absent())
"""


def installed_by(page: str) -> Iterator[Requirement]:
    """Yield what the text of a page tells to install; waterfill itself always."""
    yield Requirement("waterfill")
    for line in _INSTALL.findall(page):
        for word in (one.strip('"') for one in _WORD.findall(line)):
            if word.startswith((".", "waterfill")):
                extras = _EXTRA.search(word)
                yield Requirement(f"waterfill{extras.group(0) if extras else ''}")
            elif _PACKAGE.fullmatch(word):
                yield Requirement(word)


def missing(page: str) -> list[str]:
    """Return the packages that a page tells to install, but that are not installed here."""
    found = []
    for name in sorted(closure(installed_by(page))):
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found.append(name)
    return found


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of the distributions that requirements install, with their own."""
    found: set[tuple[str, str]] = set()
    pending = list(requirements)
    while pending:
        one = pending.pop()
        for extra in ("", *one.extras):
            key = (canonicalize_name(one.name), extra)
            if key in found:
                continue
            found.add(key)
            try:
                own = metadata.requires(one.name) or []
            except metadata.PackageNotFoundError:  # of another system, or an alternative
                continue
            for text in own:
                requirement = Requirement(text)
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    pending.append(requirement)
    return {name for name, _ in found}


@cache
def _owners() -> Mapping[str, frozenset[str]]:
    """Return the distributions that are installed here, by their top-level modules."""
    found = metadata.packages_distributions().items()
    return {module: frozenset(map(canonicalize_name, names)) for module, names in found}


def absent_modules(page: str) -> list[str]:
    """Return the top-level modules that are installed here, but not where a page is followed."""
    present = closure(installed_by(page))
    return sorted(
        module
        for module, owners in _owners().items()
        if not present & owners and module not in sys.stdlib_module_names
    )


def imports(blocks: Iterable[str]) -> set[str]:
    """Return the top-level modules that Python blocks import."""
    found = set()
    for node in (one for block in blocks for one in ast.walk(ast.parse(block))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
