"""Bodies of numbers: read as the type that they declare, and refused without one."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import waterfill as wf

D = 8
OCTETS = "application/octet-stream"
DTYPES = {"float32": "<f4", "float16": "<f2", "float64": "<f8"}


def post(client, path, content, kind=OCTETS):
    return client.post(path, content=content, headers={"content-type": kind})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("where", ["header", "quoted", "URL", "both"])
def test_a_declared_type_is_read_by_value(client, rows, index, dtype, where):
    x = rows[:4].astype(DTYPES[dtype])
    kind = {
        "header": f"{OCTETS}; dtype={dtype}",
        "quoted": f'{OCTETS};charset=binary;  DType = "{dtype}"',
        "URL": OCTETS,
        "both": f"{OCTETS}; dtype={dtype}; n=4",
    }[where]
    query = f"&dtype={dtype}&n=4" if where in ("URL", "both") else ""
    found = post(client, f"/search?k=3{query}", x.tobytes(), kind).json()
    distances, ids = index.search(x, 3)
    assert found["ids"] == ids.tolist()
    assert found["distances"] == distances.tolist()
    added = post(client, f"/add?{query}", x.tobytes(), kind)
    assert added.json() == {"added": 4, "ids": [*range(1000, 1004)], "ntotal": 1004}
    expected = wf.IndexFlat(index.codec, "ip")
    expected.add(x)
    np.testing.assert_array_equal(index.codes()[1000:], expected.codes())


@pytest.mark.filterwarnings("ignore:.*training drew:RuntimeWarning")  # of bytes read as floats
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    declared=st.sampled_from([None, *DTYPES]),
    sent=st.sampled_from([*DTYPES, "int8"]),
    n=st.integers(1, 8),
    count=st.booleans(),
)
def test_bytes_of_another_type_never_pass_with_a_count(client, rows, declared, sent, n, count):
    """Without a type nothing is accepted; with a count, no other size than that of the type."""
    x = rows[:n].astype(DTYPES.get(sent, "i1"))
    kind = OCTETS if declared is None else f"{OCTETS}; dtype={declared}"
    for path in ("/search", "/add"):
        answer = post(client, f"{path}?n={n}" if count else path, x.tobytes(), kind)
        if declared is None:
            assert answer.status_code == 415
            assert (
                "must declare its dtype, float32, float16, float64, got none; send Content"
                in (answer.json()["error"])
            )
        elif declared == sent:
            assert answer.status_code == 200
        elif count or x.nbytes % (D * np.dtype(DTYPES[declared]).itemsize):
            assert answer.status_code == 422
            if count and sent in DTYPES:
                assert f"got {x.nbytes} bytes, which is dtype={sent}" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "kind", "status", "words"),
    [
        ("/search", f"{OCTETS}; dtype=int8", 422, "must declare its dtype, .*got 'int8'"),
        ("/search?dtype=>f4", OCTETS, 422, "got '>f4'"),
        ("/search?dtype=", OCTETS, 422, "got ''"),
        ("/search?dtype=float16", f"{OCTETS}; dtype=float32", 422, "dtype must be the same"),
        ("/search?n=2", f"{OCTETS}; dtype=float32; n=1", 422, "n must be the same"),
        ("/search?n=-1", f"{OCTETS}; dtype=float32", 422, "n must be the number of vectors"),
        ("/search?n=1e3", f"{OCTETS}; dtype=float32", 422, "n must be the number of vectors"),
        ("/search?n=" + "9" * 400, f"{OCTETS}; dtype=float32", 422, "n must be the number"),
        ("/search?n=0", f"{OCTETS}; dtype=float32", 422, "0 for n=0, got 32 bytes"),
        ("/add?k=3", f"{OCTETS}; dtype=float32", 422, "unexpected 'k' .*expected dtype, n"),
        ("/search?dtype=float32", "application/json", 422, "with JSON all parameters belong"),
    ],
)
def test_what_is_declared_is_checked(client, path, kind, status, words):
    content = b'{"vector": [1, 1, 1, 1, 1, 1, 1, 1]}' if "json" in kind else bytes(32)
    answer = post(client, path, content, kind)
    assert answer.status_code == status
    assert re.search(words, answer.json()["error"])


def test_a_float64_beyond_float32_is_refused(client):
    x = np.full((1, D), 1e300)
    answer = post(client, "/add", x.tobytes(), f"{OCTETS}; dtype=float64")
    assert answer.status_code == 422
    assert "row 0 has a NaN or an infinity in float32" in answer.json()["error"]


def test_the_document_has_the_types(client):
    document = client.get("/openapi.json").json()
    for path in ("/search", "/add"):
        operation = document["paths"][path]["post"]
        kinds = set(operation["requestBody"]["content"]) - {"application/json"}
        assert kinds == {f"{OCTETS}; dtype={dtype}" for dtype in DTYPES}
        parameters = {each["name"]: each["schema"] for each in operation["parameters"]}
        assert parameters["dtype"]["enum"] == list(DTYPES)
        assert parameters["n"]["minimum"] == 1
