"""All kernels compile with NVRTC for every architecture; this needs no GPU and no driver."""

from __future__ import annotations

import sys

import pytest

from waterfill.device.kernels import KERNEL_FILES, SOURCE, cached_file, compile_file, kernel_file

ARCHITECTURES = ("sm_75", "sm_80", "sm_89", "sm_90", "sm_100", "sm_120")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="NVRTC is installed on Linux")


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", KERNEL_FILES)
def test_kernels_compile(name, arch):
    assert compile_file(name, arch).startswith(b"\x7fELF")


def test_all_sources_are_listed():
    assert sorted(KERNEL_FILES) == sorted(path.name for path in (SOURCE / "cuda").glob("*.cu"))
    assert kernel_file("encode_jointly") == "joint.cu"
    with pytest.raises(LookupError, match="no kernel 'encode'"):
        kernel_file("encode")


def test_compiled_files_are_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("WATERFILL_KERNEL_CACHE", str(tmp_path / "kernels"))
    first = cached_file("normalize.cu", "sm_90")
    (path,) = (tmp_path / "kernels").iterdir()
    assert path.read_bytes() == first
    path.write_bytes(b"known")
    assert cached_file("normalize.cu", "sm_90") == b"known"
    assert cached_file("normalize.cu", "sm_80") != b"known"


def test_a_cache_that_cannot_be_written_to_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WATERFILL_KERNEL_CACHE", str(tmp_path / "file" / "kernels"))
    assert cached_file("normalize.cu", "sm_90").startswith(b"\x7fELF")
