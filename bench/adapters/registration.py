"""Put waterfill's adapters into a host, and register them there, as the pull requests do.

::

    python registration.py ann-benchmarks CHECKOUT
    python registration.py vectordbbench PACKAGE    # the folder vectordb_bench
    python registration.py bitbudget PACKAGE        # the folder bitbudget

Files are copied, and lines are added where the host lists its own. Doing it twice changes nothing.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

ADAPTERS = Path(__file__).resolve().parent

_DB = "Waterfill"
_CLIENT = "waterfill"
_CASE = """\
        if self == DB.{db}:
            from .{module} import {name}

            return {name}

"""


def _copy(source: Path, target: Path) -> None:
    if not target.is_dir():
        raise SystemExit(f"{target}: expected a folder of the host")
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__*__"))


def _insert(path: Path, before: str, lines: str) -> None:
    """Add lines before the first match of a pattern, unless the file has them."""
    text = path.read_text(encoding="utf-8")
    if lines in text:
        return
    found = re.search(before, text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{path}: expected a line like {before!r}; the host has changed")
    start = found.start()
    path.write_text(text[:start] + lines + text[start:], encoding="utf-8")


def register_ann_benchmarks(checkout: Path) -> None:
    """Add the algorithm, which the host finds by its folder."""
    algorithms = Path("ann_benchmarks", "algorithms")
    _copy(ADAPTERS / "ann-benchmarks" / algorithms, checkout / algorithms)


def register_vectordbbench(package: Path) -> None:
    """Add the client, its name, its three classes and its command."""
    clients = Path("backend", "clients")
    _copy(ADAPTERS / "vectordbbench" / "vectordb_bench" / clients, package / clients)
    names = package / clients / "__init__.py"
    _insert(names, r"^\n    @property\n    def init_cls", f'    {_DB} = "{_DB}"\n')
    for method, module, name in (
        ("init_cls", "waterfill", "Waterfill"),
        ("config_cls", "config", "WaterfillConfig"),
        ("case_config_cls", "config", "WaterfillIndexConfig"),
    ):
        _insert_first_case(
            names, method, _CASE.format(db=_DB, module=f"{_CLIENT}.{module}", name=name)
        )
    commands = package / "cli" / "vectordbbench.py"
    _insert(
        commands,
        r"^from \.\.backend\.clients\.weaviate",
        f"from ..backend.clients.{_CLIENT}.cli import {_DB}\n",
    )
    _insert(commands, r"^\n\nif __name__", f"cli.add_command({_DB})\n")


def _insert_first_case(path: Path, method: str, lines: str) -> None:
    """Add a case before the first one of a method."""
    text = path.read_text(encoding="utf-8")
    if lines in text:
        return
    head, found, body = text.partition(f"    def {method}(")
    start = body.find("        if self == DB.")
    if not found or start < 0:
        raise SystemExit(f"{path}: expected a method {method} with cases; the host has changed")
    path.write_text(head + found + body[:start] + lines + body[start:], encoding="utf-8")


def register_bitbudget(package: Path) -> None:
    """Add the methods, which the package imports if waterfill is installed."""
    _copy(ADAPTERS / "bitbudget" / "bitbudget", package)
    lines = (
        "try:\n    from . import methods_waterfill\n"
        "except ImportError:  # waterfill is not installed\n    pass\n"
    )
    _insert(package / "__init__.py", r"^\n__version__", lines)


HOSTS = {
    "ann-benchmarks": register_ann_benchmarks,
    "vectordbbench": register_vectordbbench,
    "bitbudget": register_bitbudget,
}


def main() -> None:
    """Register in one host."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", choices=HOSTS)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    HOSTS[given.host](given.folder)


if __name__ == "__main__":
    main()
