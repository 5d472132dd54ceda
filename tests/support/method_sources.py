"""The sources of methods: which public names owe one, and what is wrong with those of a docstring.

The source of a method stands in the section "References" of the docstring that names the method.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Iterator

from numpydoc.docscrape import NumpyDocString
from support.docstrings import docstring_of, entries

# By a method's name, as docstrings have it: an author and the year of its source.
METHODS = {
    r"alpha spending": "Lan 1983",
    r"bonferroni": "Dunn 1961",
    r"bootstrap": "Efron 1979",
    r"centroid condition": "Gersho 1992",
    r"design effect": "Kish 1965",
    r"diskann": "Subramanya 2019",
    r"eden": "Vargaftik 2022",
    r"effective rank": "Roy 2007",
    r"fast scan": "André 2015",
    r"gradient limit": "Netflix 2018",
    r"hedg(ed|ing)": "Dean 2013",
    r"hnsw": "Malkov 2020",
    r"inverted file over": "Jégou 2011",
    r"itq": "Gong 2011",
    r"jecq": "Janea 2025",
    r"k-means": "Lloyd 1982",
    r"k-means\+\+": "Arthur 2007",
    r"little's law": "Little 1961",
    r"log-structured merge": "O'Neil 1996",
    r"matryoshka": "Kusupati 2022",
    r"max-t": "Westfall 1993",
    r"maximal marginal relevance": "Carbonell 1998",
    r"moderated variances": "Smyth 2004",
    r"mrr": "Voorhees 1999",
    r"ndcg": "Järvelin 2002",
    r"normal approximation": "Wasserman 2004",
    r"open model": "Schroeder 2006",
    r"opq": "Ge 2013",
    r"oracle approximating shrinkage": "Chen 2010",
    r"polysemous": "Douze 2016",
    r"population stability index": "Siddiqi 2006",
    r"principal components": "Hotelling 1933",
    r"product[- ]quanti[sz]": "Jégou 2011",
    r"rabitq": "Gao 2024",
    r"random pairing": "Gemulla 2006",
    r"random walk": "Kac 1956",
    r"reservoir sampling": "Vitter 1985",
    r"shannon bound": "Shannon 1959",
    r"sign covariance": "Visuri 2000",
    r"spherical k-means": "Dhillon 2001",
    r"water-filling": "Cover 2006",
    r"welch": "Welch 1947",
    r"wilson": "Wilson 1927",
}

# Modules that lend what others do to hosts, files and devices.
INTERFACES = {
    "columns",
    "data",
    "folder",
    "gpu",
    "integrations",
    "metrics",
    "scale",
    "server",
}
# Functions and classes elsewhere that implement no published method of their own: they read and
# write, convert, count and wait, or call what has a source.
WITHOUT_METHOD = {
    "waterfill": {
        "Batcher",
        "CachedSearch",
        "IDSelector",
        "Metrics",
        "ShedMiddleware",
        "SwapIndex",
        "build",
        "check",
        "compress",
        "export_faiss",
        "get_num_threads",
        "index_factory",
        "open_vectors",
        "read_codec",
        "read_index",
        "register_faiss",
        "reproduce",
        "retrain",
        "set_num_threads",
        "to_faiss",
        "write_codec",
        "write_index",
    },
    "waterfill.evaluation": {"Peers", "read_qrels"},
    "waterfill.managed": {"ManagedIndex"},
    "waterfill.optimizer": {"Frontier"},
    "waterfill.serving": {"Permit"},
    "waterfill.sizing": {"estimate", "index_size", "measure_rates", "storage"},
}

_LISTED = re.compile(r"^\.\. \[(\d+)\] ((?:.|\n(?!\.\. ))+)", re.MULTILINE)
_CITED = re.compile(r"\[(\d+)\]_")
_YEAR_IN_PROSE = re.compile(r"\([^()]*\b(?:1[89]|20)\d\d\)")
_LITERAL = re.compile(r"``.*?``|`[^`]*`", re.DOTALL)


@functools.cache
def references(text: str) -> dict[str, str]:
    """Return the references of a docstring, on one line each, by number."""
    lines = "\n".join(NumpyDocString(text)["References"])
    return {number: " ".join(words.split()) for number, words in _LISTED.findall(lines)}


def years(words: str) -> list[str]:
    """Return the years that a text names."""
    return re.findall(r"\b(?:1[89]|20)\d\d\b", words)


def owes_source(module: str, name: str) -> bool:
    """Whether a public name is a function or class that a published method may be behind.

    Records and exceptions are not, nor what an interface lends: their docstrings owe a source for
    a method that they name, as all do.
    """
    value = getattr(importlib.import_module(module), name)
    if not callable(value) or INTERFACES & set(module.split(".")[1:2]):
        return False
    is_record = dataclasses.is_dataclass(value) or hasattr(value, "_fields")
    return not is_record and not (inspect.isclass(value) and issubclass(value, Exception))


def gives_source(module: str, name: str) -> bool:
    """Whether the docstring of a public name, or of a method that it defines, has references."""
    value = getattr(importlib.import_module(module), name)
    members = vars(value) if inspect.isclass(value) else ()
    own = [f"{module}.{name}", *(f"{module}.{name}.{member}" for member in members)]
    return any(references(docstring_of(entry)) for entry in entries(module, name) if entry in own)


def source_faults(text: str) -> Iterator[str]:
    """Yield what is wrong with the sources of a docstring, one line each."""
    listed, prose = references(text), _prose(text)
    if list(listed) != [str(i + 1) for i in range(len(listed))]:
        yield f"References are numbered {list(listed)}"
    if cited := sorted(set(_CITED.findall(prose)) ^ set(listed)):
        yield f"Of references {cited}, one of text and list has each, and the other has not"
    for number, words in listed.items():
        if not years(words):
            yield f"Reference [{number}] has no year"
        if words.count(", ") < 2 or not words.endswith("."):
            yield f"Reference [{number}] is not 'authors, title, where, year.'"
    if found := _YEAR_IN_PROSE.search(prose):
        yield f"The text has {found[0]}: list it in a References section"
    for method, source in METHODS.items():
        author, year = source.split()
        named = re.search(rf"\b{method}", prose, re.IGNORECASE)
        if named and not any(author in words and year in words for words in listed.values()):
            yield f"It names {named[0]!r}, and no reference is {source}"


def _prose(text: str) -> str:
    """Return a docstring without references, and without what is literal or a name."""
    return " ".join(_LITERAL.sub("", text.partition("\nReferences\n---")[0]).split())
