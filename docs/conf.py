"""Configuration of Sphinx, which builds the site: ``make site``."""

from __future__ import annotations

import importlib
import re
from typing import Any

from docutils import nodes

# Imported here, as autodoc imports with TYPE_CHECKING set, which pydantic does not survive.
for module in (
    "server",
    "integrations.haystack",
    "integrations.langchain",
    "integrations.llama_index",
):
    importlib.import_module(f"waterfill.{module}")

project = "waterfill"
author = copyright = "the waterfill authors"
extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
]
html_theme = "furo"
html_title = "waterfill"
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/waterfill/waterfill/",
    "source_branch": "main",
    "source_directory": "docs/",
}
nb_execution_mode = "off"  # `make notebooks` runs them, and the tests
highlight_language = "none"  # of a block that does not say

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# Names in single backticks lead to their entry if they have one, and are plain otherwise.
default_role = "autolink"
autosummary_generate = False
autodoc_typehints = "none"  # the docstrings have the types, with shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

_PREFIXED = re.compile(r"\[R[0-9a-f]{12}-(\d+)\]")


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool:
    """Leave out members that a host's class, or an exception of Python, has defined."""
    module = getattr(getattr(obj, "fget", obj), "__module__", None)
    return skip or not (module or "waterfill").startswith("waterfill")


def _leave_measures(app: Any, doctree: nodes.document) -> None:
    """Turn links to mail addresses back into what they are: recall@10, nDCG@10."""
    for link in list(doctree.findall(nodes.reference)):
        if link.get("refuri", "").startswith("mailto:") and link.astext().endswith("@10"):
            link.replace_self(nodes.Text(link.astext()))


def _number_references(app: Any, doctree: nodes.document) -> None:
    """Show references by number: numpydoc takes its prefixes off in pages of RST only."""
    for text in list(doctree.findall(nodes.Text)):
        if number := _PREFIXED.fullmatch(text):
            text.parent.replace(text, nodes.Text(f"[{number[1]}]"))


def setup(app: Any) -> None:
    """Connect the functions above."""
    app.connect("autodoc-skip-member", _skip)
    app.connect("doctree-read", _leave_measures)
    app.connect("doctree-read", _number_references)
