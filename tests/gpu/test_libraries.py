"""torch, CuPy and JAX: codes and results in kind. Only with a GPU: `make test-gpu`."""

from __future__ import annotations

import numpy as np
import pytest
from support.gpu_devices import REAL

import waterfill as wf

pytestmark = pytest.mark.skipif(not REAL, reason="needs a GPU: make test-gpu")


def test_torch(codec_64, base_64, queries_64):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(base_64).cuda()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        doubled = (x * 2) / 2  # on the same stream, perhaps not done yet
        codes = codec_64.encode(doubled)
    assert (codes.device, codes.dtype) == (x.device, torch.uint8)
    np.testing.assert_array_equal(codes.cpu().numpy(), codec_64.encode(base_64))
    index = wf.gpu.IndexFlat(codec_64)
    index.add(x)
    distances, ids = index.search(torch.from_numpy(queries_64).cuda(), 5)
    assert distances.device == ids.device == x.device
    expected = index.to_cpu().search(queries_64, 5)
    np.testing.assert_array_equal(ids.cpu().numpy(), expected[1])
    np.testing.assert_array_equal(distances.cpu().numpy(), expected[0])
    twin = wf.Codec.train(x, codec_64.plan, cells=0)
    assert twin.fingerprint == wf.Codec.train(base_64, codec_64.plan, cells=0).fingerprint


def test_cupy(codec_64, queries_64):
    cupy = pytest.importorskip("cupy")
    codes = codec_64.encode(cupy.asarray(queries_64))
    assert isinstance(codes, cupy.ndarray)
    np.testing.assert_array_equal(codes.get(), codec_64.encode(queries_64))


def test_jax(codec_64, queries_64):
    jax = pytest.importorskip("jax")
    x = jax.device_put(queries_64)
    if x.devices().pop().platform != "gpu":
        pytest.skip("JAX sees no GPU")
    codes = codec_64.encode(x)
    np.testing.assert_array_equal(np.asarray(codes), codec_64.encode(queries_64))


def test_memory_that_is_not_there(codec_64, base_64, queries_64):
    index = wf.IndexFlat(codec_64)
    index.add(base_64)
    with pytest.raises(ValueError, match="device=99: expected the number of a GPU"):
        index.to_gpu(99)
    gpu = index.to_gpu()
    with pytest.raises(MemoryError, match="free some"):
        gpu._device.allocate(1 << 45)
    np.testing.assert_array_equal(gpu.search(queries_64, 3)[1], index.search(queries_64, 3)[1])
