"""Training, encoding and search on an NVIDIA GPU: rates, the CPU's results, and torch beside it.

    python bench/gpu.py [--keep gpu.json] [--seconds 570] [--again STEP ...]

Builds and installs waterfill without a network, from what an image for GPUs has (cmake, pybind11,
scikit-build-core, torch, cuda-core, pytest-xdist), runs the tests with `make test-gpu`, and then
measures step by step. Each result is written at once: called again, the script goes on where it was
cut off. A step that would probably not end in time is left for the next call. Vectors are
synthetic: a mixture of normal distributions with an uneven spectrum.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "gpu" / "site"

D, CODE_BYTES = 384, 47  # and the scale byte
MILLION = 1_000_000
HARD, EASY = -2.5, -8.0  # most dimensions are encoded; codes find most neighbors in 10,000,000


def build() -> dict[str, Any]:
    """Install waterfill in a folder of its own."""
    started = time.perf_counter()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    options = ["--no-build-isolation", "--upgrade", "--target", str(SITE)]
    directory = ["-C", "build-dir=build/gpu/cmake"]
    jobs = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count())}
    subprocess.run([*pip, *options, *directory, str(ROOT)], check=True, env=os.environ | jobs)
    return {"seconds": time.perf_counter() - started}


def test() -> dict[str, Any]:
    """Run the tests of GPUs on this one."""
    environment = os.environ | {"PYTHONPATH": str(SITE)}
    command = ["make", "test-gpu", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return {"passed": done.returncode == 0, "end": (done.stdout + done.stderr)[-3000:]}


def seconds_of(call: Callable[[], object], times: int = 5) -> float:
    """Return the median time of a call that uses the GPU, after one that is not counted."""
    import torch

    durations = []
    for _ in range(times + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        durations.append(time.perf_counter() - started)
    return float(np.median(durations[1:]))


def vectors(n: int, seed: int, slope: float = HARD) -> Any:
    """Return float32 vectors on the GPU; slope: of the logarithms of their scales."""
    import torch

    scales_on_host = np.exp(np.linspace(0, slope, D, dtype=np.float32))
    drawn = np.random.default_rng(1).standard_normal((2000, D), np.float32) * scales_on_host
    scales, centers = torch.from_numpy(scales_on_host).cuda(), torch.from_numpy(drawn).cuda()
    own = torch.Generator("cuda").manual_seed(seed)
    chosen = torch.randint(0, len(centers), (n,), device="cuda", generator=own)
    return centers[chosen] + 0.6 * scales * torch.randn(n, D, device="cuda", generator=own)


def codec(cells: int, slope: float = HARD) -> Any:
    """Return a trained codec, which is kept for the next step and the next call."""
    import waterfill as wf

    path = ROOT / "build" / "gpu" / f"codec-{cells}{slope:g}.wf"
    if not path.exists():
        sample = vectors(max(100_000, 20 * cells), 2, slope)
        plan = wf.Plan.waterfill(wf.analyze(sample.cpu().numpy()), code_bytes=CODE_BYTES)
        wf.write_codec(wf.Codec.train(sample, plan, cells=cells), path)
    return wf.read_codec(path)


def bandwidth() -> dict[str, Any]:
    """Measure the device's memory and the bus."""
    import torch

    a = torch.empty(1 << 30, dtype=torch.float32, device="cuda")
    b = torch.empty_like(a)
    host = torch.empty(1 << 28, dtype=torch.float32, pin_memory=True)
    return {
        "gpu": torch.cuda.get_device_name(),
        "read_and_write_bytes_s": 2 * a.nbytes / seconds_of(lambda: b.copy_(a)),
        "to_device_bytes_s": host.nbytes / seconds_of(lambda: a[: len(host)].copy_(host)),
    }


def encode() -> dict[str, Any]:
    """Encode rows on the device and in host memory, and compare codes with the CPU's."""
    made, x = codec(0), vectors(2 * MILLION, 3)
    host = x.cpu().numpy()
    index = _gpu_index(made)
    codes = made.encode(x[:20_000]).cpu().numpy()
    cells = codec(1024)
    in_cells = cells.encode(x[:20_000]).cpu().numpy()
    return {
        "equal": bool((codes == made.encode(host[:20_000])).all()),
        "equal_with_cells": bool((in_cells == cells.encode(host[:20_000])).all()),
        "device_rows_s": len(x) / seconds_of(lambda: made.encode(x)),
        "device_rows_s_with_cells": len(x) / seconds_of(lambda: cells.encode(x), 2),
        "host_rows_s": len(x) / seconds_of(lambda: index.sa_encode(host), 2),
        "cpu_rows_s": 200_000 / seconds_of(lambda: made.encode(host[:200_000]), 1),
    }


def _gpu_index(made: Any) -> Any:
    import waterfill as wf

    return wf.gpu.IndexFlat(made)


class Stopwatch:
    """A device that takes the time of scans."""

    def __init__(self, device: Any) -> None:
        import torch

        self._device, self._events = device, []
        self._stream = torch.cuda.ExternalStream(int(device._stream.handle))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def launch(self, kernel: str, *arguments: Any, **options: Any) -> None:
        """Launch a kernel, scans between two events."""
        import torch

        if not kernel.startswith("scan_"):
            return self._device.launch(kernel, *arguments, **options)
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record(self._stream)
        self._device.launch(kernel, *arguments, **options)
        after.record(self._stream)
        self._events.append((before, after))

    def seconds(self) -> float:
        """Return the time of the scans since the last call."""
        self._device.synchronize()
        total = sum(before.elapsed_time(after) for before, after in self._events)
        self._events.clear()
        return total / 1000


def scan() -> dict[str, Any]:
    """Scan 100,000,000 random codes for one query."""
    import waterfill as wf
    from waterfill.device.search import DeviceSearch

    made = codec(0)
    index = wf.IndexFlat(made)
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 256, (10 * MILLION, made.code_size), np.uint8)
    codes[:, -1] = rng.integers(100, 160, len(codes), np.uint8)
    for i in range(10):
        codes[:, :-1] ^= np.uint8(2 * i + 1)  # others; drawing them would take longer than the rest
        index.add_sa_codes(codes)
    query = vectors(3, 5).cpu().numpy()
    gpu = index.to_gpu()
    watch = Stopwatch(gpu._device)
    search = DeviceSearch(watch, index._core, 60 << 30)
    arguments = (10, 200, index.coarse_groups, index.prune_sigma, None, None, 0)
    times = []
    for _ in range(6):
        started = time.perf_counter()
        found = search.search(query[:1], *arguments)
        times.append((time.perf_counter() - started, watch.seconds()))
    whole, scans = np.median(times[1:], axis=0)
    expected = index._core.search(query[:1], *arguments)
    read = index.ntotal * (index.coarse_groups / 2 + 1)
    return {
        "equal": all(bool((a == b).all()) for a, b in zip(found, expected, strict=False)),
        "scan_seconds": float(scans),
        "search_seconds": float(whole),
        "scan_bytes_s": float(read / scans),
        "device_bytes_per_vector": search.codes.nbytes / index.ntotal,
    }


def batches() -> dict[str, Any]:
    """Search 10,000,000 vectors for 1,000 queries, beside brute force of torch in float16."""
    import torch

    import waterfill as wf

    n, count, k = 10 * MILLION, 1000, 10
    queries = vectors(count, 6, EASY)
    stored = torch.empty(n, D, dtype=torch.float16, device="cuda")
    flat, lists = _gpu_index(codec(0, EASY)), wf.gpu.IndexIVF(codec(4096, EASY), 4096)
    for first in range(0, n, MILLION):
        part = vectors(MILLION, 100 + first // MILLION, EASY)
        stored[first : first + MILLION] = part.half()
        flat.add(part)
        lists.add(part)

    def brute_force() -> Any:
        best = [torch.topk(queries.half() @ part.T, k) for part in stored.split(MILLION)]
        starts = torch.arange(len(best), device="cuda") * MILLION
        ids = torch.cat([b.indices + s for b, s in zip(best, starts, strict=True)], 1)
        order = torch.topk(torch.cat([b.values for b in best], 1), k).indices
        return torch.gather(ids, 1, order).cpu()

    truth = brute_force().numpy()
    result: dict[str, Any] = {"torch_seconds": seconds_of(brute_force)}
    host = queries.cpu().numpy()

    def recall(index: Any) -> float:
        found = index.search(host, k)[1]
        return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found, truth, strict=True)]))

    some = flat.search(host[:32], k), flat.to_cpu().search(host[:32], k)
    result["equal"] = bool((some[0][1] == some[1][1]).all() and (some[0][0] == some[1][0]).all())
    result["flat_recall"] = recall(flat)
    result["flat_seconds"] = seconds_of(lambda: flat.search(host, k), 3)
    result["device_share_of_codes"] = flat.device_bytes / (n * flat.bytes_per_vector)
    result["lists"] = []
    for nprobe in (8, 16, 32, 64, 128):
        lists.nprobe = nprobe
        seconds = seconds_of(lambda: lists.search(host, k), 3)
        result["lists"].append((nprobe, recall(lists), seconds))
    return result


def train() -> dict[str, Any]:
    """Train on 65,536 rows where they are and on the CPU, and compare the codecs."""
    import waterfill as wf

    x = vectors(65_536 + 256, 7)
    host = x.cpu().numpy()
    plan = wf.Plan.waterfill(wf.analyze(host), code_bytes=CODE_BYTES)
    result: dict[str, Any] = {"cpu_threads": os.cpu_count()}
    for cells in (0, 1024):
        made = [wf.Codec.train(rows, plan, cells=cells).fingerprint for rows in (x, host)]
        result[f"equal_{cells}_cells"] = made[0] == made[1]
        for name, rows in (("device", x), ("cpu", host)):
            result[f"{name}_seconds_{cells}_cells"] = seconds_of(
                lambda rows=rows, cells=cells: wf.Codec.train(rows, plan, cells=cells), 1
            )
    return result


def ranges() -> dict[str, Any]:
    """Search 2,000,000 vectors within the distance of about the hundredth neighbour."""
    index = _gpu_index(codec(0))
    index.add(vectors(2 * MILLION, 8))
    queries = vectors(100, 9).cpu().numpy()
    radius = float(np.median(index.search(queries, 100)[0][:, -1]))
    few = index.range_search(queries[:4], radius), index.to_cpu().range_search(queries[:4], radius)
    return {
        "equal": all(bool((a == b).all()) for a, b in zip(*few, strict=True)),
        "found_per_query": int(index.range_search(queries, radius)[0][-1]) / len(queries),
        "device_seconds_100": seconds_of(lambda: index.range_search(queries, radius), 3),
        "cpu_seconds_4": seconds_of(lambda: index.to_cpu().range_search(queries[:4], radius), 1),
    }


STEPS: dict[str, tuple[Callable[[], dict[str, Any]], int]] = {  # with about the seconds they take
    "build": (build, 90),
    "test": (test, 60),
    "bandwidth": (bandwidth, 15),
    "train": (train, 40),
    "encode": (encode, 30),
    "ranges": (ranges, 20),
    "scan": (scan, 80),
    "batches": (batches, 60),
}


def main() -> None:
    """Run the steps that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "gpu" / "results.json")
    parser.add_argument("--seconds", type=float, default=570, help="to end in")
    parser.add_argument("--again", nargs="*", default=[], choices=STEPS, metavar="STEP")
    options = parser.parse_args()
    started = time.perf_counter()
    options.keep.parent.mkdir(parents=True, exist_ok=True)
    SITE.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    if options.keep.exists():
        results = json.loads(options.keep.read_text())
    for name, (step, seconds) in STEPS.items():
        if (
            name in results
            and name not in options.again
            and not (name == "build" and not SITE.exists())
        ):
            continue
        if time.perf_counter() - started + seconds > options.seconds:
            print(f"{name}: left for another call")
            continue
        results[name] = step()
        if str(SITE) not in sys.path:
            sys.path.insert(0, str(SITE))
        options.keep.write_text(json.dumps(results, indent=1))
        print(name, json.dumps(results[name], indent=1), flush=True)


if __name__ == "__main__":
    if SITE.exists():
        sys.path.insert(0, str(SITE))
    main()
