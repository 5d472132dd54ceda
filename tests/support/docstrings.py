"""The public names of waterfill, and what the docstring of each lacks to be a reference entry."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpydoc.docscrape import Parameter, get_doc_object
from numpydoc.validate import Validator, validate

import waterfill
from waterfill import errors

PACKAGE = Path(waterfill.__file__).parent
# Types of results, without a public name of their own.
RESULTS = {
    "waterfill.analysis": ["Analysis", "Finding", "Norms"],
    "waterfill.drift.attribution": ["Moved", "Movement"],
    "waterfill.drift.canary_recall": ["CanaryRecall"],
    "waterfill.drift.model_change": ["Model"],
    "waterfill.drift.report": ["LastReport", "Relevance", "StreamReport"],
    "waterfill.drift.window_comparison": ["Occupancy", "Verdict"],
    "waterfill.evaluation.recall_extrapolation": ["Expected", "Growth", "Optimism"],
    "waterfill.evaluation.sample_split": ["Draw", "Split"],
    "waterfill.index.hnsw_parameters": ["HNSW"],
    "waterfill.index.inverted_lists": ["ClusteringParameters"],
    "waterfill.index.views": ["DistanceComputer", "IdMap"],
    "waterfill.lifecycle.comparison": ["Mean", "Side"],
    "waterfill.lifecycle.generation": ["Contents", "Event"],
    "waterfill.loadtest.http_target": ["Client"],
    "waterfill.optimizer.resource_estimate": ["Estimate", "Rates"],
    "waterfill.plan": ["Group"],
    "waterfill.quality": ["Check"],
    "waterfill.reproduction": ["Reproduction"],
    "waterfill.training.distortion": ["DistortionReport"],
}

# numpydoc's codes. Left out: extended summaries, examples and "See Also" sections, which would
# repeat what is elsewhere, and the first verb in the infinitive, which misreads nouns (SS05).
CODES = {
    "GL03",  # two blank lines
    "GL06",  # unknown section
    "GL07",  # order of sections
    "GL08",  # no docstring
    "SS01",  # no summary
    "SS02",  # the summary starts with a small letter
    "SS03",  # the summary ends without a full stop
    "SS06",  # the summary takes several lines
    "PR04",  # a parameter without a type
    "PR06",  # a type's name
    "PR10",  # no space before the colon
    "RT01",  # no "Returns" section
    "YD01",  # no "Yields" section
}

# Modules with functions that check arguments: what these raise, their callers raise.
CHECKS = {"waterfill._util.optional", "waterfill._util.validation"}
SECTIONS = ("Parameters", "Other Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")

_ARRAY = re.compile(r"\b(array_like|array|ndarray|tensor)\b")
_DTYPE = re.compile(r"\b(bool|u?int(8|16|32|64)|float(16|32|64)|dtype|str)\b")
_SHAPE = re.compile(r"\([^)]*\)|\bn\b")
_ARRAY_ANNOTATIONS = re.compile(r"\b(NDArray|FloatRows|Labels|ArrayLike)\b")


def public_modules() -> list[str]:
    """Return the modules with public names: those in the docstring of the package, and hosts."""
    named = re.findall(r"`waterfill\.(\w+)`", inspect.getdoc(waterfill) or "")
    exporters = re.findall(r"`waterfill\.(metrics\.\w+)`", _source("waterfill.metrics")[1])
    integrations = sorted(PACKAGE.joinpath("integrations").iterdir())
    hosts = [f"integrations.{path.stem}" for path in integrations if _has_names(path)]
    return ["waterfill", *(f"waterfill.{name}" for name in [*named, *exporters, *hosts])]


def public_names(module: str) -> list[str]:
    """Return the public names of a module, read from its source: it may need an extra."""
    tree = ast.parse(_source(module)[1])
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return [name for name in defined if not name.startswith("_")]


def result_types(module: str, name: str) -> Iterator[str]:
    """Yield the full names of waterfill's types in annotations of results and attributes."""
    value = getattr(importlib.import_module(module), name)
    if not inspect.isclass(value):
        yield from _types_in(getattr(value, "__annotations__", {}).get("return"), value)
        return
    for attribute, annotation in vars(value).get("__annotations__", {}).items():
        if not attribute.startswith("_"):
            yield from _types_in(annotation, value)
    for entry in list(entries(module, name))[1:]:
        function = _function(inspect.getattr_static(value, entry.rpartition(".")[2]))
        yield from _types_in(getattr(function, "__annotations__", {}).get("return"), function)


@functools.cache
def known_types() -> set[str]:
    """Return the full names of all types with a public name or in `RESULTS`, where defined."""
    found = {f"{module}.{name}" for module, names in RESULTS.items() for name in names}
    for module in public_modules():
        with contextlib.suppress(ImportError):
            loaded = importlib.import_module(module)
            values = [getattr(loaded, name) for name in public_names(module)]
            found |= {f"{v.__module__}.{v.__name__}" for v in values if inspect.isclass(v)}
    return found


def _types_in(annotation: Any, owner: Any) -> Iterator[str]:
    names = vars(sys.modules[owner.__module__]) if annotation else {}
    for word in re.findall(r"[A-Za-z]\w*", str(annotation)):
        found = names.get(word)
        if inspect.isclass(found) and found.__module__.startswith("waterfill."):
            yield f"{found.__module__}.{found.__name__}"


def _has_names(path: Path) -> bool:
    """Whether a module is for users; those without `__all__` are what modules of hosts share."""
    file = path / "__init__.py" if path.is_dir() else path
    return file.suffix == ".py" and file.is_file() and "__all__ = " in file.read_text()


def _source(module: str) -> tuple[Path, str]:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file, file.read_text()


def entries(module: str, name: str) -> Iterator[str]:
    """Yield the full names of a public name and, of a class, of its own methods and properties."""
    yield f"{module}.{name}"
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value):
        for member in dir(value):
            found = inspect.getattr_static(value, member, None)
            if not member.startswith("_") and _defined_here(found):
                yield f"{module}.{name}.{member}"


def _function(member: Any) -> Any:
    """Return the function behind a method or property, or None."""
    if isinstance(member, property):
        member = member.fget
    elif isinstance(member, functools.cached_property):
        member = member.func
    elif isinstance(member, classmethod | staticmethod):
        member = member.__func__
    return inspect.unwrap(member) if inspect.isroutine(member) else None


def _defined_here(member: Any) -> bool:
    return (getattr(_function(member), "__module__", None) or "").startswith("waterfill")


def docstring_of(entry: str) -> str:
    """Return the docstring of a full name."""
    owner, _, name = entry.rpartition(".")
    return inspect.getdoc(getattr(Validator._load_obj(owner), name)) or ""


def faults(entry: str) -> list[str]:
    """Return what the docstring of a full name lacks, one line each."""
    owner, _, name = entry.rpartition(".")
    holder = Validator._load_obj(owner)
    value, member = getattr(holder, name), inspect.getattr_static(holder, name, None)
    is_property = isinstance(member, property | functools.cached_property)
    if not callable(value) and not is_property:
        return _faults_of_constant(owner, name)
    doc = Validator(_parsed(value))
    twin = _twin(holder, doc.summary)
    exempt = {"RT01", "YD01"} if twin else {"RT01"} if _says_all(value, doc) else set()
    found = [text for code, text in validate(_parsed(value))["errors"] if code in CODES - exempt]
    found += _faults_of_parameters(value, doc, twin)
    for section in SECTIONS:
        for field in doc.doc[section]:
            found += _faults_of_field(section, field)
    if not inspect.isclass(value) and not twin:
        found += _faults_of_arrays(_function(member), doc.doc, is_property)
    functions = [member]
    if inspect.isclass(value):
        functions = [vars(value).get(method) for method in ("__init__", "__post_init__", "__new__")]
    for function in filter(None, map(_function, filter(_defined_here, functions))):
        found += _faults_of_errors(
            function, [*doc.doc["Raises"], *(twin or {"Raises": []})["Raises"]]
        )
    return found


def _parsed(value: Any) -> Any:
    """Return numpydoc's parsed docstring, without the members of a class as attributes."""
    text = inspect.getdoc(value) or ""
    if inspect.isbuiltin(value):
        text = text.partition("\n\n")[2]  # pybind11 puts the signature first
    return get_doc_object(value, doc=text, config={"show_class_members": False})


def _twin(holder: Any, summary: str) -> Any:
    """Return the docstring of the method that a method says it works as, or None.

    Hosts ask for variants of a method: of a text and of a vector, with and without scores, for
    coroutines. Their docstrings say what differs.
    """
    named = re.search(r"\bas `(\w+)`", summary)
    if not named or not inspect.isclass(holder):
        return None
    if not holder.__module__.startswith("waterfill.integrations."):
        return None
    return _parsed(getattr(holder, named[1]))


def _says_all(value: Any, doc: Validator) -> bool:
    """Whether a summary "Return ..." and a plain annotation replace a "Returns" section."""
    if not inspect.isroutine(value) or inspect.isbuiltin(value):
        return False
    annotation = str(inspect.signature(value).return_annotation)
    plain = annotation != "Any" and not _ARRAY_ANNOTATIONS.search(annotation)
    return doc.summary.startswith("Return") and not doc.signature_parameters and plain


def _faults_of_constant(module: str, name: str) -> list[str]:
    """Return whether the source says what a constant is: a string below it, as Sphinx reads it."""
    docstring = rf'^{name}\b[^\n]*=(?:[^\n]|\n(?!\n))*?\n"""[A-Z]'
    files = _source(module)[0].parent.glob("*.py")
    described = any(re.search(docstring, file.read_text(), re.MULTILINE) for file in files)
    return [] if described else ["The constant has no docstring below it"]


def _faults_of_parameters(value: Any, doc: Validator, twin: Any) -> Iterator[str]:
    """Yield missing, unknown and disordered parameters; those of a result are its attributes."""
    if inspect.isbuiltin(value) or isinstance(value, property | functools.cached_property):
        return  # C++ tells no signature
    names, signature = list(doc.doc_parameters), _signature(value, doc)
    if unknown := [name for name in names if name not in signature]:
        yield f"Parameters {unknown} are not in the signature"
    elif names != [name for name in signature if name in names]:
        yield f"Parameters {names} are not in the order of the signature"
    made = re.search(r"\b[Mm]ade by `", inspect.getdoc(value) or "")
    if inspect.isclass(value) and (made or getattr(value, "_is_protocol", False)):
        return  # nobody else calls it
    others = [*(twin["Parameters"] if twin else []), *([] if names else doc.doc["Attributes"])]
    documented = {*names, *(name for field in others for name in field.name.split(", "))}
    if missing := [name for name in signature if name not in documented and name[0] != "_"]:
        yield f"Parameters {missing} are not documented"


def _signature(value: Any, doc: Validator) -> list[str]:
    own = vars(value).get("__init__") if inspect.isclass(value) else None
    if not _defined_here(own):  # hosts may show another signature than that of __init__
        return list(doc.signature_parameters)
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    parameters = list(inspect.signature(own).parameters.values())[1:]
    return [stars.get(parameter.kind, "") + parameter.name for parameter in parameters]


def _faults_of_field(section: str, field: Parameter) -> Iterator[str]:
    """Yield what an entry of a section lacks: a type, a description, the shape of an array.

    numpydoc's checks of descriptions pass over parameters with options, such as {'ip', 'l2'}.
    """
    kind = field.type or ("" if section in ("Parameters", "Attributes") else field.name)
    label = f"{section}: {field.name or kind!r}"
    text = "\n".join(field.desc).strip()
    if not kind.removesuffix("optional"):
        yield f"{label} has no type"
    if not text:
        yield f"{label} has no description"
    elif text[0].islower():
        yield f"{label}: the description starts with a small letter"
    elif text[-1] not in ".:" and not text.splitlines()[-1].startswith("- "):
        yield f"{label}: the description has no full stop"
    if _ARRAY.search(kind) and not _SHAPE.search(kind):
        yield f"{label}: the type {kind!r} has no shape"
    if section in ("Returns", "Attributes") and "ndarray" in kind and not _DTYPE.search(kind):
        yield f"{label}: the type {kind!r} has no dtype"


def _faults_of_arrays(function: Any, docstring: Any, is_property: bool) -> Iterator[str]:
    """Yield whether an array is returned without a shape and a dtype."""
    returned = getattr(function, "__annotations__", {}).get("return", "")
    if not _ARRAY_ANNOTATIONS.search(str(returned)):
        return
    text = "\n".join(f"{field.name} {field.type}" for field in docstring["Returns"])
    if is_property:
        text = inspect.getdoc(function) or ""
    if not _SHAPE.search(text):
        yield "It returns an array of unknown shape"
    if not _DTYPE.search(text):
        yield "It returns an array of unknown dtype"


def _faults_of_errors(function: Any, documented: list[Parameter]) -> Iterator[str]:
    """Yield errors that a function raises, and that no "Raises" section names."""
    named = {name for field in documented for name in re.findall(r"\w+", field.type or field.name)}
    for raised in sorted(_raised(function)):
        found = getattr(builtins, raised, getattr(errors, raised, function.__globals__.get(raised)))
        bases = {base.__name__ for base in getattr(found, "__mro__", ())}
        if not named & ({raised} | bases - {"Exception", "BaseException", "object"}):
            yield f"It raises {raised}, and no Raises section says when"


@functools.cache
def _raised(function: Any) -> set[str]:
    """Return the names of the errors that a function raises itself, or by checking arguments."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):  # C++, or the __init__ of a dataclass, which raises nothing
        return set()
    names: set[str] = set()
    for node in _own_nodes(body.body[0]):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            names.add(ast.unparse(node.exc.func).rpartition(".")[2])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = function.__globals__.get(node.func.id)
            if getattr(called, "__module__", None) in CHECKS and called is not function:
                names |= _raised(inspect.unwrap(called))
    return {name for name in names if name[0].isupper()}


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of the functions in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _own_nodes(child)
