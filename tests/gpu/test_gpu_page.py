"""The examples of docs/gpu.md run, on an emulated device or a GPU."""

from __future__ import annotations

from support.doc_examples import needs_docs, run_example

import waterfill as wf


@needs_docs
def test_the_examples_run(monkeypatch, devices):
    names = run_example("gpu.md", monkeypatch)
    assert type(names["on_gpu"]) is wf.gpu.IndexFlat
    assert names["on_gpu"].device_bytes > 0
