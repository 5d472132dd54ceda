from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.systems import on_posix

import waterfill as wf
from waterfill import _core

HEADER, ENTRY = "<8sHHIQII28sI", "<8sQQII"


@pytest.fixture(scope="module")
def index(small_codec: wf.Codec, clustered: np.ndarray) -> wf.IndexFlat:
    made = wf.IndexFlat(small_codec, "l2")
    made.add(clustered[:500])
    return made


@pytest.fixture(scope="module")
def image(index: wf.IndexFlat, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("image") / "index.wf"
    wf.write_index(index, path)
    return path.read_bytes()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def sections(data: bytes) -> dict[str, tuple[int, int, int]]:
    """Read the table as FORMAT.md says: tag -> offset, size, CRC."""
    count = struct.unpack_from(HEADER, data)[5]
    entries = (struct.unpack_from(ENTRY, data, 64 + 32 * i) for i in range(count))
    return {tag.rstrip(b"\0").decode(): (at, size, crc) for tag, at, size, crc, _ in entries}


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
@pytest.mark.parametrize("n", [0, 1, 33, 2000])
def test_reading_gives_what_was_written(codec, base, queries, tmp_path, metric, n):
    index = wf.IndexFlat(codec, metric)
    index.add(base[:n])
    path = tmp_path / "index.wf"
    wf.write_index(index, path)
    again = wf.read_index(str(path))
    assert (again.ntotal, again.metric, again.d) == (n, metric, 384)
    assert again.codec.to_bytes() == codec.to_bytes()
    assert again.codec.plan == codec.plan
    for a, b in zip(again.search(queries, 7), index.search(queries, 7), strict=True):
        np.testing.assert_array_equal(a, b)
    again.add(base[:5])
    assert again.ntotal == n + 5
    assert os.listdir(tmp_path) == ["index.wf"]


def test_several_segments_and_classic_plans_are_kept(clustered, tmp_path):
    plan = wf.Plan.classic(wf.analyze(clustered), 0.2, 0.7, by="dimensions", pq_multiplier=3.0)
    index = wf.IndexFlat(wf.Codec.train(clustered, plan))
    index.add(np.tile(clustered, (45, 1)))
    wf.write_index(index, tmp_path / "index.wf")
    again = wf.read_index(tmp_path / "index.wf")
    assert again.codec.plan == plan
    for a, b in zip(again.search(clustered[:5], 99), index.search(clustered[:5], 99), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_file_is_what_the_format_page_says(image, index):
    magic, major, minor, kind, size, count, table_crc, zeros, crc = struct.unpack_from(
        HEADER, image
    )
    assert magic == bytes([0x89, 0x57, 0x46, 0x4C, 0x0D, 0x0A, 0x1A, 0x0A])
    assert (major, minor, kind, size) == (1, 6 if index.codec.cells else 5, 2, len(image))
    assert zeros == bytes(28)
    assert crc == _core.crc32c(image[:60])
    assert table_crc == _core.crc32c(image[64 : 64 + 32 * count])
    table = sections(image)
    cells = index.codec.cells
    assert list(table) == [
        *("PARAMS", "SHAPES", "MEASURED", "MEAN", "BASIS", "WEIGHTS", "BOOKS", "CELLS"),
        *(("CELLSPEC", "CENTROID", "PROBES") if cells else ()),
        *("PLAN", "MANIFEST", "INDEX", *(("LISTOF",) if cells else ())),
        *("HIGH", "LOW", "SCALE", "EXTRA", "LISTS"),
        *(("LABLOW", "LABBITS", "LABSAMP") if cells else ()),
    ]
    for at, length, crc in table.values():
        assert at % 64 == 0
        assert crc == _core.crc32c(image[at : at + length])

    at, length, _ = table["MANIFEST"]
    assert wf.training.Manifest.from_json(image[at : at + length].decode()) == index.codec.manifest
    d, p, groups = struct.unpack_from("<3I", image, table["PARAMS"][0])
    arrays = index.codec._core.arrays
    assert (d, p, groups) == (20, len(arrays["weights"]), 7)
    at, length, _ = table["BOOKS"]
    books = np.frombuffer(image[at : at + length], "<f4").reshape(p, 256)
    np.testing.assert_array_equal(books, arrays["books"])
    assert struct.unpack_from("<2IQ", image, table["INDEX"][0]) == (1, 1, 500)

    codes = index._core.codes(0, 500)
    lists = np.zeros(500, dtype=int)
    if cells:
        at, length, _ = table["LISTOF"]
        width = 1 if cells <= 256 else 2
        lists = np.frombuffer(image[at : at + length], f"<u{width}").astype(int)
        numbers = codes[:, 8:].astype(int) @ (256 ** np.arange(width))
        np.testing.assert_array_equal(lists, numbers)
        assert struct.unpack_from("<2I", image, table["CELLSPEC"][0]) == (
            cells,
            index.codec._core.calibration_rows,
        )
        assert table["CENTROID"][1] == cells * 20 * 4
        at, shares = table["PROBES"][0], (cells - 1).bit_length()
        recall = index.codec._core.list_recall
        (missed, decay), (missed_l2, decay_l2) = recall["ip"], recall["l2"]
        assert struct.unpack_from("<I2f", image, at) == (shares, decay, decay_l2)
        assert struct.unpack_from(f"<{2 * shares}f", image, at + 12) == (*missed, *missed_l2)
    high = np.frombuffer(image, np.uint8, table["HIGH"][1], table["HIGH"][0]).reshape(-1, 8, 16)
    low = np.frombuffer(image, np.uint8, table["LOW"][1], table["LOW"][0]).reshape(500, 4)
    blocks = -(-np.bincount(lists, minlength=max(1, cells)) // 32)
    for slot, label in enumerate(np.argsort(lists, kind="stable")):
        own = lists[label]
        v = slot - int((lists < own).sum())
        pair = high[blocks[:own].sum() + v // 32, :7, v % 16]
        upper = pair >> 4 if v % 32 >= 16 else pair & 15
        lower = np.stack([low[slot] & 15, low[slot] >> 4], axis=1).ravel()[:7]
        np.testing.assert_array_equal(upper << 4 | lower, codes[label, :7])
        assert image[table["SCALE"][0] + slot] == codes[label, 7]

    def contents(tag: str, dtype: str) -> np.ndarray:
        at, length, _ = table[tag]
        return np.frombuffer(image[at : at + length], dtype)

    records = contents("LISTS", "<u4,<u4,u1,u1,u1,u1,<u4")
    scale, extra = contents("SCALE", "u1"), contents("EXTRA", "u1")
    start, words, samples = 0, 0, 0
    for number, record in enumerate(records):
        size, own_words, *ranges, reserved = record.item()
        own = slice(start, start + size)
        assert (size, reserved) == (int((lists == number).sum()), 0)
        empty = [255, 0, 255, 0]
        bounds = [f(part[own]) for part in (scale, extra) for f in (np.min, np.max) if size]
        assert ranges == (bounds or empty)
        if cells:
            bits = contents("LABBITS", "u1")[8 * words : 8 * (words + own_words)]
            ones = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
            labels = (ones - np.arange(size)) * 256 + contents("LABLOW", "u1")[own]
            np.testing.assert_array_equal(labels, np.flatnonzero(lists == number))
            sampled = contents("LABSAMP", "<u8")[samples : samples + len(ones[::64])]
            np.testing.assert_array_equal(sampled, ones[::64])
            assert own_words == (ones[-1] // 64 + 1 if size else 0)
            samples += len(sampled)
        start, words = start + size, words + own_words
    assert len(records) == max(1, cells)
    assert words == (len(contents("LABBITS", "<u8")) if cells else 0)


def test_crc32c_is_castagnolis():
    assert _core.crc32c(b"123456789") == 0xE3069283
    assert _core.crc32c(b"") == 0


def test_every_truncation_is_refused(image, tmp_path):
    for length in [*range(0, 64, 7), *range(64, len(image), len(image) // 50)]:
        with pytest.raises(wf.FormatError):
            wf.read_index(write(tmp_path / "short.wf", image[:length]))


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(image, tmp_path_factory, at, bit):
    at = int(at * len(image))
    damaged = bytearray(image)
    damaged[at] ^= 1 << bit
    path = write(tmp_path_factory.mktemp("flip") / "index.wf", bytes(damaged))
    with pytest.raises(wf.FormatError, match=r"index\.wf: "):
        wf.read_index(path)  # padding has no checksum, but must be zero


def patched(image: bytes, offset: int, value: bytes) -> bytes:
    """Change header bytes and make the header's checksum fit again."""
    data = bytearray(image)
    data[offset : offset + len(value)] = value
    data[60:64] = struct.pack("<I", _core.crc32c(bytes(data[:60])))
    return bytes(data)


def test_other_files_are_refused_in_words(image, small_codec, tmp_path):
    path = tmp_path / "other.wf"
    for data, message in (
        (b"", "fewer than a header"),
        (b"\x93NUMPY" + bytes(200), "first bytes differ"),
        (patched(image, 8, b"\2"), r"version 2\.[56] is not known"),
        (patched(image, 12, b"\x63"), "unknown kind, expected a flat index"),
        (image + b"more", "but its header says"),
        (small_codec.to_bytes(), "holds a codec, expected a flat index"),
    ):
        with pytest.raises(wf.FormatError, match=message):
            wf.read_index(write(path, data))
    assert issubclass(wf.FormatError, ValueError)
    assert wf.read_index(write(path, patched(image, 10, b"\7"))).ntotal == 500  # a later minor


def test_unknown_sections_are_skipped_only_if_they_may_be(image, tmp_path):
    count = struct.unpack_from(HEADER, image)[5]
    entry = 64 + 32 * list(sections(image)).index("EXTRA")  # renamed

    def renamed(flags: int) -> bytes:
        data = bytearray(image)
        data[entry : entry + 8] = b"FUTURE\0\0"
        data[entry + 28 : entry + 32] = struct.pack("<I", flags)
        table = _core.crc32c(bytes(data[64 : 64 + 32 * count]))
        return patched(bytes(data), 28, struct.pack("<I", table))

    path = tmp_path / "future.wf"
    with pytest.raises(wf.FormatError, match="FUTURE is not known to this release"):
        wf.read_index(write(path, renamed(0)))
    with pytest.raises(wf.FormatError, match="EXTRA is missing"):
        wf.read_index(write(path, renamed(1)))


def test_what_the_file_system_says_is_an_oserror(index, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.wf"):
        wf.read_index(tmp_path / "none.wf")
    with pytest.raises(IsADirectoryError):
        wf.read_index(tmp_path)
    # The core alone knows it as well: a path may become something else after Python looked.
    with pytest.raises(IsADirectoryError, match="cannot read"):
        _core.read_index(os.fsencode(tmp_path))
    with pytest.raises(OSError, match="cannot map"):
        _core.map_index(os.fsencode(tmp_path), True)
    with pytest.raises(FileNotFoundError):
        wf.write_index(index, tmp_path / "no" / "folder.wf")
    with pytest.raises(TypeError, match="index must be"):
        wf.write_index("index", tmp_path / "x.wf")


FULL_DISK = """
import resource, signal, sys
import numpy as np, waterfill as wf
index = wf.read_index(sys.argv[1])
index.add(np.ones((200_000, 20), dtype="f4"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    wf.write_index(index, sys.argv[1])
except OSError as error:
    print("refused", error)
"""


@on_posix
def test_a_write_that_fails_midway_leaves_the_old_file(index, image, tmp_path):
    path = write(tmp_path / "index.wf", image)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "refused" in done.stdout
    assert path.read_bytes() == image
    assert os.listdir(tmp_path) == ["index.wf"]


def test_every_flipped_byte_of_header_and_table_is_found(image, tmp_path):
    for at in range(64 + 32 * 13):
        damaged = bytearray(image)
        damaged[at] ^= 0xFF
        with pytest.raises(wf.FormatError):
            wf.read_index(write(tmp_path / "flip.wf", bytes(damaged)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(
    section=st.integers(0, 12),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1),
)
def test_contents_with_fitting_checksums_are_refused_or_safe(
    image, clustered, tmp_path_factory, section, changes
):
    """A checksum stops accidents; what somebody made on purpose must not crash either."""
    data = bytearray(image)
    entry, count = 64 + 32 * section, struct.unpack_from(HEADER, image)[5]
    _, at, size, _, _ = struct.unpack_from(ENTRY, image, entry)
    for where, value in changes:
        data[at + int(where * size)] = value
    data[entry + 24 : entry + 28] = struct.pack("<I", _core.crc32c(bytes(data[at : at + size])))
    table = _core.crc32c(bytes(data[64 : 64 + 32 * count]))
    path = tmp_path_factory.mktemp("made") / "index.wf"
    write(path, patched(bytes(data), 28, struct.pack("<I", table)))
    try:
        index = wf.read_index(path)
    except wf.FormatError:
        return
    _, labels = index.search(clustered[:5], 10)
    assert ((labels >= -1) & (labels < index.ntotal)).all()
    index.add(clustered[:40])
    assert index.ntotal == 540


def test_paths_of_every_kind(index, tmp_path):
    for path in (tmp_path / "Ω index.wf", str(tmp_path / "a"), os.fsencode(tmp_path / "b")):
        wf.write_index(index, path)
        assert wf.read_index(path).ntotal == 500
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("kept", [1, 15, 32, 33, 100])
def test_a_file_after_removals_is_that_of_the_survivors(
    small_codec, clustered, tmp_path, metric, kept
):
    """Nothing of what was removed stays in the last block."""
    index, fresh = wf.IndexFlat(small_codec, metric), wf.IndexFlat(small_codec, metric)
    index.add(clustered[:130])
    index.remove_ids(np.arange(kept, 130))
    fresh.add(clustered[:kept])
    for name, one in (("index", index), ("fresh", fresh)):
        wf.write_index(one, tmp_path / name)
    assert (tmp_path / "index").read_bytes() == (tmp_path / "fresh").read_bytes()


def test_codecs_on_disk(codec, index, image, tmp_path):
    wf.write_codec(codec, tmp_path / "codec.wf")
    assert (tmp_path / "codec.wf").read_bytes() == codec.to_bytes()
    assert wf.read_codec(str(tmp_path / "codec.wf")).to_bytes() == codec.to_bytes()
    found = wf.read_codec(write(tmp_path / "index.wf", image))  # that of an index
    assert found.to_bytes() == index.codec.to_bytes()
    wf.write_codec(codec, tmp_path / "index.wf")  # is replaced
    assert wf.read_codec(tmp_path / "index.wf").d == codec.d
    assert sorted(os.listdir(tmp_path)) == ["codec.wf", "index.wf"]
    data = codec.to_bytes()
    for damaged in (b"", data[:10], data[:-9], b"\x93NUMPY" + bytes(200), image[:-9]):
        with pytest.raises(wf.FormatError, match=r"bad\.wf: "):
            wf.read_codec(write(tmp_path / "bad.wf", damaged))
    with pytest.raises(FileNotFoundError, match=r"none\.wf"):
        wf.read_codec(tmp_path / "none.wf")
    with pytest.raises(TypeError, match=r"codec must be a waterfill\.Codec, got IndexFlat"):
        wf.write_codec(index, tmp_path / "codec.wf")
