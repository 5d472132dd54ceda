"""Every public name has a docstring from which a reference can be built."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
from support.docstrings import (
    RESULTS,
    docstring_of,
    entries,
    faults,
    known_types,
    public_modules,
    public_names,
    result_types,
)
from support.method_sources import (
    WITHOUT_METHOD,
    gives_source,
    owes_source,
    references,
    source_faults,
    years,
)

PUBLIC = [(module, name) for module in public_modules() for name in public_names(module)]
NAMES = PUBLIC + [(module, name) for module, names in RESULTS.items() for name in names]

SOUND = '''
from waterfill._util.validation import as_positive_int

def f(x: int, y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add a number to rows.

    Parameters
    ----------
    x : int
        At least 1.
    y : array_like, shape (n, d)
        The rows.

    Returns
    -------
    float32 (n, d)
        The sums.

    Raises
    ------
    ValueError
        If `x` is below 1, or 3.
    TypeError
        If `x` is not an int.
    """
    if as_positive_int("x", x) == 3:
        raise ValueError("x=3")
    return y + x
'''


@pytest.mark.filterwarnings("default")  # what hosts warn of when they are imported
@pytest.mark.parametrize(("module", "name"), NAMES, ids=[".".join(case) for case in NAMES])
def test_docstrings_are_reference_entries(module: str, name: str) -> None:
    pytest.importorskip(module, exc_type=ImportError)
    found = {entry: faults(entry) for entry in entries(module, name)}
    lacking = [f"{entry}: {fault}" for entry, texts in found.items() for fault in texts]
    assert not lacking, "\n".join(lacking)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("module", "name"), NAMES, ids=[".".join(case) for case in NAMES])
def test_types_of_results_are_in_the_reference(module: str, name: str) -> None:
    pytest.importorskip(module, exc_type=ImportError)
    for kind in result_types(module, name):
        assert kind in known_types(), f"{kind}: make it public, or list it in RESULTS"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("module", "name"), NAMES, ids=[".".join(case) for case in NAMES])
def test_docstrings_give_the_sources_of_methods(module: str, name: str) -> None:
    pytest.importorskip(module, exc_type=ImportError)
    found = {entry: list(source_faults(docstring_of(entry))) for entry in entries(module, name)}
    lacking = [f"{entry}: {fault}" for entry, texts in found.items() for fault in texts]
    if (module, name) in PUBLIC and owes_source(module, name):
        exempt = name in WITHOUT_METHOD.get(module, ())
        if gives_source(module, name) == exempt:
            lacking.append(f"{name} must either have references, or be in WITHOUT_METHOD")
    assert not lacking, "\n".join(lacking)


@pytest.mark.filterwarnings("default")
def test_names_without_a_method_are_public() -> None:
    listed = {(module, name) for module, names in WITHOUT_METHOD.items() for name in names}
    assert {case for case in listed if case not in PUBLIC or not owes_source(*case)} == set()


@pytest.mark.filterwarnings("default")
def test_a_work_is_cited_in_the_same_words_everywhere() -> None:
    works: dict[str, str] = {}
    for module, name in NAMES:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
            for entry in entries(module, name):
                for words in references(docstring_of(entry)).values():
                    work = words.partition(",")[0] + years(words)[-1]
                    assert works.setdefault(work, words) == words, entry
    assert len(works) > 30


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("", "", ""),
        ("rows.\n\n    P", "rows\n\n    P", "Summary does not end with a period"),
        ("x : int\n        At least 1.\n", "", "Parameters ['x'] are not documented"),
        ("x : int", "z : int", "Parameters ['z'] are not in the signature"),
        ("f(x: int, y: NDArray[np.float32])", "f(y, x)", "not in the order of the signature"),
        ("x : int", "x", "'x' has no type"),
        ("        At least 1.\n", "", "'x' has no description"),
        ("The rows.", "the rows.", "starts with a small letter"),
        ("The sums.", "The sums", "has no full stop"),
        ("array_like, shape (n, d)", "array_like", "has no shape"),
        ("float32 (n, d)", "ndarray", "It returns an array of unknown shape"),
        ("float32 (n, d)", "ndarray", "It returns an array of unknown dtype"),
        ("Returns\n    -------\n    float32 (n, d)\n        The sums.\n", "", "No Returns section"),
        ('raise ValueError("x=3")', 'raise OSError("x=3")', "It raises OSError"),
        ("TypeError\n        If `x` is not an int.\n", "", "It raises TypeError"),
        ("return y + x", "yield y + x", "No Yields section"),
    ],
)
def test_a_fault_is_found(
    old: str, new: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "sample.py"
    file.write_text("from __future__ import annotations\n" + SOUND.replace(old, new, 1))
    spec = importlib.util.spec_from_file_location("waterfill_sample", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "waterfill_sample", module)
    spec.loader.exec_module(module)
    found = faults("waterfill_sample.f")
    assert any(fault in text for text in found) if fault else not found


SOURCED = """Cluster rows by k-means [1]_.

The intervals are Wilson's [2]_; ``itq`` is the name of an option.

References
----------
.. [1] S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information
   Theory 28(2), 1982.
.. [2] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
   Journal of the American Statistical Association 22, 1927.
"""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("", "", ""),
        ("``itq``", "ITQ", "It names 'ITQ', and no reference is Gong 2011"),
        ("E. B. Wilson", "E. B. Nobody", "It names 'Wilson', and no reference is Wilson 1927"),
        ("28(2), 1982", "28(2), 1957", "It names 'k-means', and no reference is Lloyd 1982"),
        (" [1]_", "", "Of references ['1']"),
        (" [2]_", " [3]_", "Of references ['2', '3']"),
        (".. [2]", ".. [4]", "References are numbered ['1', '4']"),
        (" 22, 1927", " 22", "Reference [2] has no year"),
        ("1982.", "1982", "Reference [1] is not"),
        ("option.", "option (Gong 2011).", "The text has (Gong 2011)"),
        ("References\n----------\n", "Notes\n-----\n", "It names 'k-means'"),
    ],
)
def test_a_fault_of_sources_is_found(old: str, new: str, fault: str) -> None:
    found = list(source_faults(SOURCED.replace(old, new, 1)))
    assert any(fault in text for text in found) if fault else not found
