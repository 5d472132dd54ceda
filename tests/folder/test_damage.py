"""Damaged folders are refused: flipped bits, missing and swapped files, hostile manifests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.folder_model import options_of, some_vectors
from support.systems import on_posix

import waterfill as wf
from waterfill import _core

FLIPS = int(os.environ.get("WATERFILL_FLIPS", "100"))  # of each file; 0: each bit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a folder with two segments, removed vectors of one, and a log of three kinds."""
    path = tmp_path / "a.wfx"
    with wf.open_index(path, "w", compaction="off", **options_of("rows")) as index:
        rng = np.random.default_rng(1)
        index.add_with_ids(some_vectors(40, seed=1), rng.permutation(40))
        index.flush()
        index.remove_ids(np.arange(5))
        index.add(some_vectors(20, seed=2))
        index.flush()
        index.add(some_vectors(3, seed=3))
        index.upsert([7, 9], some_vectors(2, seed=4))
        index.remove_ids(np.array([11]))
    return path


def files_of(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path) if name != "LOCK")


def flips_of(file: Path, seed: int) -> list[int]:
    bits = 8 * file.stat().st_size
    if FLIPS == 0 or bits <= FLIPS:
        return list(range(bits))
    return sorted(np.random.default_rng(seed).choice(bits, FLIPS, replace=False).tolist())


def test_each_flipped_bit_is_found(path: Path) -> None:
    wf.open_index(path, verify="full")
    names = files_of(path)
    assert {name.split("-")[0] for name in names} == {"MANIFEST", "codec", "segment", "log"}
    assert any(name.endswith(".dead") for name in names)
    for name in names:
        file = path / name
        sound = file.read_bytes()
        for bit in flips_of(file, seed=len(sound)):
            damaged = bytearray(sound)
            damaged[bit // 8] ^= 1 << bit % 8
            file.write_bytes(damaged)
            with pytest.raises(wf.FormatError, match=r"a\.wfx"):
                wf.open_index(path, verify="full")
        file.write_bytes(sound)
    wf.open_index(path, verify="full")


CHILD = """
import resource, sys
import numpy as np
import waterfill as wf
from support.folder_model import some_vectors
from test_damage import files_of, flips_of
from pathlib import Path
path = Path(sys.argv[1])
wf.open_index(path).search(some_vectors(3, seed=9), 5)
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
opened = 0
for name in files_of(path):
    file = path / name
    sound = file.read_bytes()
    for bit in flips_of(file, seed=3)[::4]:
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        file.unlink()
        file.write_bytes(damaged)
        try:
            index = wf.open_index(path)
        except wf.FormatError:
            continue
        opened += 1
        index.search(some_vectors(3, seed=9), 5)
        few = wf.SearchParameters(sel=wf.IDSelectorBatch([1, 2, 3]))
        index.search(some_vectors(3, seed=9), 5, params=few)
        index.range_search(some_vectors(3, seed=9), 5.0)
        index.ids(), index.codes(), index.reconstruct_n(0, index.ntotal)
    file.unlink()
    file.write_bytes(sound)
print(opened)
"""


@on_posix
def test_without_verification_damage_does_not_crash(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", CHILD, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parent)]),
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 0


def test_a_missing_file_is_named(path: Path) -> None:
    for name in files_of(path):
        copy = path.parent / "copy.wfx"
        shutil.copytree(path, copy)
        (copy / name).unlink()
        with pytest.raises(
            (wf.FormatError, FileNotFoundError), match="no index" if name == "MANIFEST" else name
        ):
            wf.open_index(copy)
        shutil.rmtree(copy)


def test_a_file_of_another_folder_is_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.wfx"
    with wf.open_index(other, "w", compaction="off", **options_of("rows")) as index:
        index.add(some_vectors(40, seed=5))
        index.flush()
    for name in files_of(path):
        twin = {"segment": "segment-000003.wf", "log": "log-000004.wfl"}.get(name.split("-")[0])
        if twin is None or name.endswith(".dead"):
            continue
        copy = tmp_path / "copy.wfx"
        shutil.copytree(path, copy)
        shutil.copyfile(other / twin, copy / name)
        with pytest.raises(wf.FormatError, match=r"not the file that|another folder"):
            wf.open_index(copy)
        shutil.rmtree(copy)


def test_a_codec_of_another_folder_is_refused(path: Path, tmp_path: Path) -> None:
    wf.open_index(tmp_path / "b.wfx", "w", **options_of("flat")).close()
    shutil.copyfile(tmp_path / "b.wfx" / "codec-000001.wf", path / "codec-000001.wf")
    with pytest.raises(wf.FormatError, match="not the codec that"):
        wf.open_index(path)


def test_a_manifest_that_names_too_much_is_refused(path: Path) -> None:
    file = path / "MANIFEST"
    manifest = _core.Manifest.from_bytes(file.read_bytes())
    for vectors in (41, 2**32 - 1):
        segments = [
            _core.ManifestSegment(
                number=one.number,
                vectors=vectors,
                bytes=one.bytes,
                codec=one.codec,
                crc=one.crc,
            )
            for one in manifest.segments
        ]
        hostile = _core.Manifest.from_bytes(manifest.to_bytes())
        hostile.segments = segments
        file.write_bytes(hostile.to_bytes())
        with pytest.raises(wf.FormatError, match=r"more vectors than|of \d+ vectors, where"):
            wf.open_index(path)


def test_a_later_version_is_refused(path: Path) -> None:
    file = path / "MANIFEST"
    data = bytearray(file.read_bytes())
    data[8] = 2
    data[60:64] = _core.crc32c(bytes(data[:60])).to_bytes(4, "little")
    file.write_bytes(data)
    with pytest.raises(wf.FormatError, match=r"version 2\."):
        wf.open_index(path)
