"""Arrays of vectors in Zarr, of both formats, and the codec of numcodecs by itself."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.store_checks import load

if sys.version_info < (3, 11):
    pytest.skip("the pinned Zarr needs Python 3.11", allow_module_level=True)

numcodecs, registry, zarr, zarr_registry = load(
    "numcodecs", "numcodecs.registry", "zarr", "zarr.registry"
)

import waterfill as wf  # noqa: E402
from waterfill.integrations.numcodecs import WaterfillCodec  # noqa: E402
from waterfill.integrations.zarr import WaterfillSerializer  # noqa: E402

D = 64
ENTRIES = {
    "numcodecs.codecs": "waterfill.integrations.numcodecs:WaterfillCodec",
    "zarr.codecs": "waterfill.integrations.zarr:WaterfillSerializer",
}


@pytest.fixture(scope="module")
def vectors(base_64: NDArray[np.float32]) -> NDArray[np.float32]:
    return base_64[:1000]


@pytest.fixture(scope="module")
def codec(vectors: NDArray[np.float32]) -> Any:
    return WaterfillCodec.train(vectors, 32)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    """As the entry points do where the package is installed."""
    registry.register_codec(WaterfillCodec)
    zarr_registry.register_codec("waterfill", WaterfillSerializer)


def made(kind: int, path: Path, codec: Any, shape: tuple[int, ...], **options: Any) -> Any:
    """A new array of one of Zarr's formats."""
    own = (
        {"zarr_format": 2, "filters": None, "compressors": codec}
        if kind == 2
        else {"serializer": WaterfillSerializer(codec), "compressors": None}
    )
    options = {"dtype": "float32", "chunks": (*(100 for _ in shape[1:]), D), **options}
    return zarr.create_array(path, shape=shape, **own, **options)


@pytest.mark.parametrize("kind", [2, 3])
def test_an_array_is_written_and_read(
    vectors: NDArray[np.float32], codec: Any, tmp_path: Path, kind: int
) -> None:
    array = made(kind, tmp_path / "a", codec, (950, D))
    array[:] = vectors[:950]
    again = zarr.open_array(tmp_path / "a", mode="r")
    expected = codec.codec.decode(codec.codec.encode(vectors[:950]))
    np.testing.assert_array_equal(again[:], expected)
    assert np.square(again[:] - vectors[:950]).sum(1).mean() < 0.1
    np.testing.assert_array_equal(again[500:503, 5], expected[500:503, 5])
    chunks = [
        file for file in (tmp_path / "a").rglob("*") if file.is_file() and "z" not in file.name
    ]
    assert len(chunks) == 10
    assert {file.stat().st_size for file in chunks} == {100 * 33}
    # Of a chunk that is written in part, the other rows are encoded again: of what was decoded.
    array[10] = vectors[990]
    np.testing.assert_array_equal(again[100:], expected[100:])
    np.testing.assert_array_equal(
        again[10], codec.codec.decode(codec.codec.encode(vectors[990:991]))[0]
    )


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes_and_more_axes(
    vectors: NDArray[np.float32], codec: Any, tmp_path: Path, kind: int, dtype: str
) -> None:
    own = WaterfillCodec(codec.codec, dtype)
    array = made(kind, tmp_path / "a", own, (10, 20, D), dtype=dtype, chunks=(5, 10, D))
    stack = vectors[:200].astype(dtype).reshape(10, 20, D)
    array[:] = stack
    got = zarr.open_array(tmp_path / "a", mode="r")[:]
    assert got.dtype == dtype
    flat = codec.codec.decode(codec.codec.encode(stack.reshape(-1, D).astype(np.float32)))
    np.testing.assert_array_equal(got.reshape(-1, D), flat.astype(dtype))


def test_the_last_chunk_may_be_filled_up_with_zeros(
    vectors: NDArray[np.float32], tmp_path: Path
) -> None:
    far = vectors + 10  # zeros are unlike them, which a codec would warn of
    codec = WaterfillCodec.train(far, 32)
    array = made(2, tmp_path / "a", codec, (150, D))
    array[:] = far[:150]
    np.testing.assert_array_equal(array[:], codec.codec.decode(codec.codec.encode(far[:150])))
    with pytest.warns(RuntimeWarning, match="chunk: 1 of 2 vectors are"):
        codec.encode(np.stack([far[0], far[0] * 100]))


@pytest.mark.parametrize("format_", [2, 3])
def test_a_program_that_does_not_name_waterfill_reads_it(
    vectors: NDArray[np.float32], codec: Any, tmp_path: Path, format_: int
) -> None:
    made(format_, tmp_path / "a", codec, (100, D))[:] = vectors[:100]
    meta = tmp_path / "meta" / "waterfill_entries-0.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: waterfill-entries\nVersion: 0\n")
    missing = [g for g in ENTRIES if not entry_points(group=g, name="waterfill")]
    lines = [f"[{group}]\nwaterfill = {ENTRIES[group]}\n" for group in missing]
    (meta / "entry_points.txt").write_text("\n".join(lines))
    program = (
        "import sys; sys.path.append(sys.argv[2])\n"
        "import zarr; print(float(zarr.open_array(sys.argv[1], mode='r')[7, 3]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a"), str(tmp_path / "meta")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = codec.codec.decode(codec.codec.encode(vectors[7:8]))[0, 3]
    assert np.float32(done.stdout) == expected


def test_the_package_names_its_entry_points() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    if not project.exists():
        pytest.skip("an installed package has no pyproject.toml")
    import tomllib

    named = tomllib.loads(project.read_text())["project"]["entry-points"]
    for group, target in ENTRIES.items():
        assert named[group] == {"waterfill": target}


def test_the_codec_of_numcodecs(vectors: NDArray[np.float32], codec: Any) -> None:
    config = json.loads(json.dumps(codec.get_config()))
    again = numcodecs.get_codec(config)
    assert again == codec
    assert hash(again) == hash(codec)
    assert again != WaterfillCodec(codec.codec, "float64")
    assert pickle.loads(pickle.dumps(codec)) == codec
    assert repr(codec) == "WaterfillCodec(64 dimensions in 33 bytes, dtype='<f4')"
    codes = codec.encode(vectors[:50])
    assert codes.tobytes() == codec.codec.encode(vectors[:50]).tobytes()
    assert codec.encode(vectors[:50].ravel()).tobytes() == codes.tobytes()
    out = np.empty((50, D), np.float32)
    for buffer in (codes, codes.tobytes(), memoryview(codes)):
        np.testing.assert_array_equal(codec.decode(buffer).reshape(50, D), codec.codec.decode(
            codes.reshape(50, -1)
        ))  # fmt: skip
        codec.decode(buffer, out)
        np.testing.assert_array_equal(out.ravel(), codec.decode(buffer))
    assert codec.decode(codec.encode(np.empty((0, D), np.float32))).size == 0


def test_training_has_the_least_error(vectors: NDArray[np.float32]) -> None:
    def error(codec: wf.Codec) -> float:
        return float(np.square(codec.decode(codec.encode(vectors)) - vectors).sum())

    assert error(WaterfillCodec.train(vectors, 16).codec) <= error(
        wf.Recipe(D, 16, weighting=0.4).train(vectors, "l2", cells=0)
    )
    assert WaterfillCodec.train(vectors).codec.code_size == 9


def test_bad_input(vectors: NDArray[np.float32], codec: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chunk: expected dtype <f4, got <f8"):
        codec.encode(vectors.astype(np.float64))
    with pytest.raises(ValueError, match=r"expected vectors of 64 dimensions.*chunk the array as"):
        codec.encode(vectors[:, :32])
    with pytest.raises(ValueError, match="chunk: row 1 has a NaN"):
        codec.encode(np.stack([vectors[0], vectors[0] * np.nan]))
    with pytest.raises(ValueError, match="buf: expected codes of 33 bytes, got 34 bytes"):
        codec.decode(bytes(34))
    with pytest.raises(TypeError, match=r"codec must be a waterfill\.Codec, got int"):
        WaterfillCodec(3)
    with pytest.raises(ValueError, match="dtype: expected one of <f2, <f4, <f8, got <i4"):
        WaterfillCodec(codec.codec, "int32")
    with pytest.raises(TypeError, match="codec must be a WaterfillCodec or a Codec, got str"):
        WaterfillSerializer("x")
    for kind in (2, 3):
        with pytest.raises(ValueError, match=r"expected (dtype )?<f4, got >f4"):
            made(kind, tmp_path / f"big{kind}", codec, (10, D), dtype=">f4")[:] = vectors[:10]
    with pytest.raises(ValueError, match="expected rows in C order"):
        made(2, tmp_path / "c", codec, (10, D), order="F")[:] = vectors[:10]
    with pytest.raises(ValueError, match="dtype: expected <f4, got <f8"):
        made(3, tmp_path / "a", codec, (10, D), dtype="float64")
    with pytest.raises(ValueError, match="shape: expected 64 dimensions in the last axis"):
        made(3, tmp_path / "b", codec, (10, 32), chunks=(10, 32))


def test_threads_share_a_codec(vectors: NDArray[np.float32], codec: Any, tmp_path: Path) -> None:
    array = made(3, tmp_path / "a", codec, (1000, D), chunks=(50, D))

    def write(first: int) -> None:
        array[first : first + 250] = vectors[first : first + 250]

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 1000, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(array[:], codec.codec.decode(codec.codec.encode(vectors)))
