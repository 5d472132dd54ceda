"""The sources of the CUDA kernels, and their compilation for a device, with a cache on disk."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import Any

from waterfill._util.atomic_file import atomic_write
from waterfill._util.optional import require

KERNEL_FILES = (
    "cell_sums.cu",
    "cells.cu",
    "centroid_sums.cu",
    "columns.cu",
    "directions.cu",
    "full_score.cu",
    "joint.cu",
    "nearest.cu",
    "normalize.cu",
    "quantize.cu",
    "range.cu",
    "rotate.cu",
    "scale.cu",
    "scan_few.cu",
    "scan_many.cu",
    "select.cu",
    "tables.cu",
)
"""In the folder ``cuda`` of `SOURCE`."""

_HEADERS = ("cuda", "include/waterfill/core")
_PACKAGED = Path(__file__).parent / "source"  # in a wheel

SOURCE = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "cpp"
"""The folder with the sources: of the package, or of the repository that it is used from."""


@functools.cache
def kernel_file(kernel: str) -> str:
    """Return the file that defines a kernel."""
    for name in KERNEL_FILES:
        if f"void {kernel}(" in (SOURCE / "cuda" / name).read_text():
            return name
    raise LookupError(f"no kernel {kernel!r}")


def compile_file(name: str, arch: str) -> bytes:
    """Compile a file of kernels with NVRTC, which needs neither a device nor a driver.

    Parameters
    ----------
    name : str
        One of `KERNEL_FILES`.
    arch : str
        Such as ``sm_90``.

    Returns
    -------
    bytes
        A cubin.

    Raises
    ------
    ImportError
        If cuda-core is not installed; the message names the extra.
    """
    core = require("cuda.core", "a GPU", "cuda")
    options = core.ProgramOptions(
        name=name,
        arch=arch,
        std="c++17",
        fma=False,  # products are rounded before they are added, as on the CPU
        ftz=False,
        prec_div=True,
        prec_sqrt=True,
        include_path=[str(SOURCE / "cuda"), str(SOURCE / "include")],
    )
    text = (SOURCE / "cuda" / name).read_text()
    program = core.Program(text, "c++", options)
    try:
        return bytes(program.compile("cubin").code)
    finally:
        program.close()


def cached_file(name: str, arch: str) -> bytes:
    """Return a compiled file from the cache on disk, or compile it and put it there."""
    path = _cache_folder() / f"{name}-{arch}-{_fingerprint(name)}.cubin"
    with contextlib.suppress(OSError):
        return path.read_bytes()
    cubin = compile_file(name, arch)
    with contextlib.suppress(OSError):  # a cache that cannot be written to is no cache
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(cubin)
    return cubin


def _cache_folder() -> Path:
    own = os.environ.get("WATERFILL_KERNEL_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "waterfill" / "kernels"


def _fingerprint(name: str) -> str:
    """Return what changes with the sources and with the compiler."""
    import hashlib  # slow to import: it loads OpenSSL

    content = hashlib.sha256()
    files = [SOURCE / "cuda" / name]
    for header in _HEADERS:
        path = SOURCE / header
        files += sorted(path.glob("*.hpp")) if path.is_dir() else [path]
    for path in files:
        content.update(path.read_bytes())
    content.update(repr(_compiler_version()).encode())
    return content.hexdigest()[:24]


def _compiler_version() -> Any:
    nvrtc = require("cuda.bindings.nvrtc", "a GPU", "cuda")
    return nvrtc.nvrtcVersion()[1:]
