"""What a machine without a GPU, a driver or the extra says, and the way out that it names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from support.gpu_devices import DeviceArray

import waterfill as wf
from waterfill.device import cuda


def without_gpu() -> bool:
    try:
        cuda.gpu_count()
    except RuntimeError:
        return True
    return False


@pytest.fixture
def index(codec_64, base_64):
    index = wf.IndexFlat(codec_64)
    index.add(base_64[:100])
    return index


def test_without_the_extra(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    for call in (index.to_gpu, lambda: wf.gpu.IndexFlat(index.codec)):
        with pytest.raises(ImportError, match=r'a GPU needs cuda-core: pip install "\.\[cuda\]"'):
            call()


def test_without_a_driver(index, codec_64, queries_64):
    pytest.importorskip("cuda.core")
    if not without_gpu():
        pytest.skip("there is a GPU")
    for call in (
        index.to_gpu,
        lambda: wf.gpu.IndexIVF(codec_64.plan, 4),
        lambda: codec_64.encode(DeviceArray(queries_64)),
    ):
        with pytest.raises(RuntimeError, match=r"a GPU: .*install NVIDIA's driver.*on the CPU"):
            call()
    assert index.search(queries_64[:2], 1)[1].shape == (2, 1)


def test_arguments(index, devices):
    with pytest.raises(TypeError, match="memory"):
        index.to_gpu(memory=1.5)
    with pytest.raises(ValueError, match="memory"):
        index.to_gpu(memory=0)
    gpu = index.to_gpu(memory=10**6)
    with pytest.raises(AttributeError, match="has no attribute 'memory'"):
        gpu.memory = 5
    with pytest.raises(ValueError, match="dimensions"):
        gpu.search(np.zeros((2, 3), np.float32), 1)
    with pytest.raises(ValueError, match="k=0 must"):
        gpu.search(np.zeros((2, 64), np.float32), 0)


def test_importing_waterfill_imports_no_cuda():
    program = (
        "import sys, waterfill as wf; wf.gpu; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"cuda", "torch", "cupy"} & set(done.stdout.split())
