"""The site: links of its pages lead somewhere, and the reference has every public name once."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from support.doc_examples import DOCS, needs_docs

PACKAGE = Path(__file__).parents[1] / "python" / "waterfill"
NOT_OF_USERS = {"errors", "_util", "cli"}  # their names are public elsewhere


@pytest.fixture(scope="module")
def site() -> ModuleType:
    """The module that collects the pages of the site."""
    spec = importlib.util.spec_from_file_location("site_pages", DOCS / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_docs
def test_every_link_leads_to_a_page_or_a_file(site: ModuleType, tmp_path: Path) -> None:
    site.collect(tmp_path / "pages")
    written = list((tmp_path / "pages").rglob("*.md"))
    assert len(written) == len(list(site.pages()))
    for page in written:
        for link in re.findall(r"\]\(([^)#\s:]+\.md)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@needs_docs
def test_links_are_those_of_the_site(site: ModuleType) -> None:
    def converted(text: str) -> str:
        return site.converted(text, "docs/decisions/0001-water-filling.md", "decisions/0001.md")

    assert converted("[a](../faiss.md#b)") == "[a](../faiss.md#b)\n"
    assert converted("[a](../../cpp/FORMAT.md#codes)") == "[a](../format.md#codes)\n"
    assert converted("[a](#b) [c](https://example.org)") == "[a](#b) [c](https://example.org)\n"
    assert converted("[a](../../cpp/format.ksy)") == f"[a]({site.SOURCES}cpp/format.ksy)\n"
    assert converted("```\n[a](nowhere.md)\n```") == "```\n[a](nowhere.md)\n```\n"
    with pytest.raises(ValueError, match="leads nowhere"):
        converted("[a](nowhere.md)")


@needs_docs
def test_every_page_is_in_the_side_bar(site: ModuleType) -> None:
    listed = {f"{name}.md" for names in site.PARTS.values() for name in names.split()}
    for page, names in site.BELOW.items():
        folder = page.rpartition("/")[0]
        listed |= {f"{folder}/{name}.md" for name in names.split()}
    pages = {page for _, page in site.pages()}
    decisions = {page for page in pages if page.startswith("decisions/0")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (DOCS / "notebooks").glob("*.ipynb")}
    assert len(notebooks) == 2
    assert (pages | notebooks) - decisions - {"index.md"} == listed - {"decisions/0*.md"}


def public_names() -> list[str]:
    """Return the names in each `__all__` of the package."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(["waterfill", *file.relative_to(PACKAGE).with_suffix("").parts])
        if module.split(".")[1] in NOT_OF_USERS or file.parent.name.startswith("_"):
            continue
        module = module.removesuffix(".__init__")
        public = module == "waterfill" or file.name == "__init__.py" or ".integrations." in module
        for node in ast.parse(file.read_text()).body if public else []:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found += [f"{module}.{name}" for name in ast.literal_eval(node.value)]
    return found


@needs_docs
@pytest.mark.skipif(not PACKAGE.exists(), reason="needs the sources")
def test_the_reference_has_every_public_name_once() -> None:
    entry = re.compile(r"^\.\. auto\w+:: (\S+)$", re.MULTILINE)
    documented = Counter(
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in entry.findall(page.read_text())
    )
    assert max(documented.values()) == 1
    assert set(public_names()) - set(documented) == set()
