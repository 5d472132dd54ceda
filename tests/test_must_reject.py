"""Files with one fault each: every reader refuses them, and says what the fault is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import waterfill as wf
from waterfill import _core

FOLDER = Path(__file__).parent / "golden" / "must_reject"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def test_every_file_has_an_expectation_and_its_own_fault():
    assert sorted(path.stem for path in FOLDER.glob("*.wf")) == sorted(EXPECTED)
    assert len({case["sha256"] for case in EXPECTED.values()}) == len(EXPECTED) >= 60


@pytest.mark.parametrize("name", EXPECTED)
def test_must_reject(name):
    path, case = FOLDER / f"{name}.wf", EXPECTED[name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == case["sha256"], "the file was changed"
    with pytest.raises(wf.FormatError, match=case["message"]) as error:
        wf.read_index(path)
    assert str(path) in str(error.value)
    with pytest.raises(wf.FormatError, match=case["message"]):
        _core.index_from_bytes(path.read_bytes())
    with pytest.raises(wf.FormatError):
        wf.read_codec(path)
