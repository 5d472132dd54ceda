"""Every public name has a docstring from which a reference can be built."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from support.docstrings import (
    RESULTS,
    entries,
    faults,
    known_types,
    public_modules,
    public_names,
    result_types,
)

NAMES = [(module, name) for module in public_modules() for name in public_names(module)]
NAMES += [(module, name) for module, names in RESULTS.items() for name in names]

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
