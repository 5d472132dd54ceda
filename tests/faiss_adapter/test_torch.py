"""After faiss.contrib.torch_utils, tensors in give tensors out, as FAISS's do.

In a process of its own: the module changes FAISS for good.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")

CODE = """
import numpy as np, torch, faiss
import waterfill as wf
torch.manual_seed(0)
x = torch.randn(2000, 16)
index, stock = wf.index_factory(16, "IVF4,WF16,Refine(flat)"), faiss.index_factory(16, "IVF4,Flat")
for each in (index, stock):
    each.train(x.numpy())
    each.add(x.numpy())
    each.nprobe = 4
stock.make_direct_map()
q = x[:3]
for before in index.search(q, 2) + index.range_search(q, 9.0) + (index.reconstruct(0),):
    assert type(before) is np.ndarray, "tensors only once torch_utils is imported"
import faiss.contrib.torch_utils

calls = {
    "search": lambda i, q: i.search(q, 2),
    "search_and_reconstruct": lambda i, q: i.search_and_reconstruct(q, 2),
    "range_search": lambda i, q: i.range_search(q, 9.0),
    "assign": lambda i, q: (i.assign(q, 2),),
    "sa_encode": lambda i, q: (i.sa_encode(q),),
    "reconstruct": lambda i, q: (i.reconstruct(7),),
    "reconstruct_n": lambda i, q: (i.reconstruct_n(3, 4),),
}
for given in (q, q.numpy()):
    for name, call in calls.items():
        ours, theirs = call(index, given), call(stock, given)
        for a, b in zip(ours, theirs, strict=True):
            assert type(a) is type(b), (name, type(a), type(b))
            assert a.dtype == b.dtype, (name, a.dtype, b.dtype)
        if name in ("search", "reconstruct", "reconstruct_n"):
            for a, b in zip(ours, theirs):
                np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-4)
D, I = torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64)
found = index.search(q, 2, D=D, I=I)
assert found[0] is D and found[1] is I and int(I[1, 0]) == 1
D2, I2, R = torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2, 16)
index.search_and_reconstruct(q, 2, D2, I2, R)
assert torch.equal(I2, I) and torch.equal(D2, D)
assert torch.allclose(R[:, 0], q, atol=1e-6)
for D in (torch.zeros(3, 2, dtype=torch.float64), torch.zeros(2, 2)):
    try:
        index.search(q, 2, D=D)
    except (TypeError, ValueError) as error:
        assert str(error).startswith("D must")
    else:
        raise AssertionError("D was taken")
index.add(x[:5].to(torch.bfloat16).requires_grad_())
assert index.ntotal == 2005
print("done")
"""


def test_tensors() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1:] == ["done"], run.stderr
