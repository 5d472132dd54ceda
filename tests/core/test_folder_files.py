"""Manifests and tombstones of folders: what is written is read, and what is wrong is refused."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.container import Container

import waterfill as wf
from waterfill import _core

GOLDEN = Path(__file__).parents[1] / "golden/folder"
FOLDER, CODEC, SEGMENT, DEAD = "<IIQQQqIIfI", "<Q16s", "<QQQQQQII", "<QQQII"
PREFIX = bytes(range(16))
MANIFEST_KIND, TOMBSTONES_KIND = 5, 6

numbers = st.integers(1, 2**40)
checksums = st.integers(0, 2**32 - 1)


@st.composite
def manifests(draw: st.DrawFn) -> _core.Manifest:
    def ascending(least: int) -> list[int]:
        return sorted(draw(st.sets(numbers, min_size=least, max_size=5)))

    codecs = [
        _core.ManifestCodec(number, draw(st.binary(min_size=16, max_size=16)))
        for number in ascending(1)
    ]
    segments = []
    coded = iter(sorted(draw(st.lists(st.sampled_from([c.number for c in codecs]), min_size=5))))
    for number in ascending(0):
        vectors = draw(st.integers(0, 2**32 - 1))
        dead = draw(st.integers(0, vectors))
        segments.append(
            _core.ManifestSegment(
                number=number,
                vectors=vectors,
                bytes=draw(st.integers(64, 2**50)),
                codec=next(coded),
                crc=draw(checksums),
                tombstones=draw(numbers) if dead else 0,
                dead=dead,
                tombstones_crc=draw(checksums) if dead else 0,
            )
        )
    nprobe = draw(checksums)
    targets = st.none() | st.floats(0, 1, exclude_min=True)
    return _core.Manifest(
        metric=draw(st.sampled_from([_core.Metric.inner_product, _core.Metric.cosine])),
        d=draw(st.integers(1, 2**17)),
        number=draw(numbers),
        log=draw(numbers),
        next_file=draw(st.integers(2**40 + 1, 2**64 - 1)),
        next_id=draw(st.integers(0, 2**63 - 1)),
        nprobe=nprobe,
        target_recall=draw(targets) if nprobe else None,
        row_kind=draw(st.sampled_from([None, _core.RowKind.float32, _core.RowKind.int8])),
        k_factor=draw(st.floats(1, 1e6, width=32)),
        codecs=codecs,
        segments=segments,
    )  # fmt: skip


def sample(**changes: Any) -> _core.Manifest:
    """A manifest of two codecs and two segments, with some settings changed."""
    settings = {
        "metric": _core.Metric.l2,
        "d": 20,
        "number": 8,
        "log": 7,
        "next_file": 9,
        "codecs": [_core.ManifestCodec(1, PREFIX), _core.ManifestCodec(4, PREFIX)],
        "segments": [segment(), segment(number=5, codec=4, tombstones=6, dead=2, tombstones_crc=3)],
    }
    return _core.Manifest(**(settings | changes))


def segment(**changes: int) -> _core.ManifestSegment:
    settings = {"number": 2, "vectors": 100, "bytes": 2000, "codec": 1, "crc": 7}
    return _core.ManifestSegment(**(settings | changes))


@given(manifests())
def test_a_manifest_is_read_as_it_was_written(manifest):
    data = manifest.to_bytes()
    again = _core.Manifest.from_bytes(data)
    assert again == manifest
    assert again.to_bytes() == data
    assert again.codecs == manifest.codecs
    assert [s.tombstones_crc for s in again.segments] == [
        s.tombstones_crc for s in manifest.segments
    ]


def test_the_manifest_is_what_the_format_page_says():
    manifest = sample(next_id=77, nprobe=6, row_kind=_core.RowKind.int8, k_factor=2.5)
    file = Container.parse(manifest.to_bytes())
    assert (file.kind, file.minor) == (MANIFEST_KIND, 5)
    assert [s.tag.rstrip(b"\0") for s in file.sections] == [b"FOLDER", b"CODECS", b"SEGMENTS"]
    folder = (1, 20, 8, 7, 9, 77, 6, 3, 2.5, 0)
    assert struct.unpack(FOLDER, file["FOLDER"].data) == folder
    assert list(struct.iter_unpack(CODEC, file["CODECS"].data)) == [(1, PREFIX), (4, PREFIX)]
    assert list(struct.iter_unpack(SEGMENT, file["SEGMENTS"].data)) == [
        (2, 100, 2000, 1, 0, 0, 7, 0),
        (5, 100, 2000, 4, 6, 2, 7, 3),
    ]


def test_a_target_recall_is_a_section_that_older_readers_skip():
    manifest = sample(nprobe=6, target_recall=0.9)
    file = Container.parse(manifest.to_bytes())
    assert (file.minor, file["TARGET"].flags) == (7, 1)
    assert struct.unpack("<d", file["TARGET"].data) == (0.9,)
    file.sections.remove(file["TARGET"])
    file.minor = 5
    assert file.to_bytes() == sample(nprobe=6).to_bytes()


def test_a_manifest_can_be_changed_as_a_copy():
    manifest = sample()
    other = copy.copy(manifest)
    assert other == manifest
    other.segments = [*other.segments, segment(number=3)]
    other.number, other.metric, other.row_kind = 3, _core.Metric.cosine, _core.RowKind.float16
    assert (len(manifest.segments), manifest.number, manifest.row_kind) == (2, 8, None)
    assert [s.number for s in other.segments] == [2, 5, 3]
    assert isinstance(other.segments, tuple)
    assert isinstance(other.codecs, tuple)
    assert other != manifest


BAD_MANIFESTS: dict[str, tuple[dict[str, Any], str]] = {
    "no dimensions": ({"d": 0}, "d is out of range"),
    "too many dimensions": ({"d": 2**17 + 1}, "d is out of range"),
    "number 0": ({"number": 0}, "number of the manifest"),
    "a number that is not used up": ({"number": 9}, "number of the manifest"),
    "log 0": ({"log": 0}, "or of the log is 0"),
    "a log that is not used up": ({"log": 9}, "or of the log is 0"),
    "next id": ({"next_id": -1}, "next_id is negative"),
    "k_factor below 1": ({"k_factor": 0.99}, "k_factor"),
    "k_factor NaN": ({"k_factor": float("nan")}, "k_factor"),
    "k_factor infinite": ({"k_factor": float("inf")}, "k_factor"),
    "a target without lists": ({"target_recall": 0.9}, "target recall without lists"),
    "a target of 0": ({"nprobe": 3, "target_recall": 0.0}, "target recall is not above 0"),
    "a target above 1": ({"nprobe": 3, "target_recall": 1.01}, "target recall is not above 0"),
    "a target NaN": ({"nprobe": 3, "target_recall": float("nan")}, "target recall is not above"),
    "no codec": ({"codecs": [], "segments": []}, "no codec"),
    "codec 0": ({"codecs": [_core.ManifestCodec(0, PREFIX)], "segments": []}, "ascend from 1"),
    "codecs descend": (
        {"codecs": [_core.ManifestCodec(4, PREFIX), _core.ManifestCodec(1, PREFIX)]},
        "ascend from 1",
    ),
    "a codec that is not used up": (
        {"codecs": [_core.ManifestCodec(1, PREFIX), _core.ManifestCodec(9, PREFIX)]},
        "codec has a number",
    ),
    "segment 0": ({"segments": [segment(number=0)]}, "number 0 or that of another"),
    "codecs of segments descend": (
        {
            "codecs": [_core.ManifestCodec(1, PREFIX), _core.ManifestCodec(4, PREFIX)],
            "segments": [segment(codec=4), segment(number=3)],
        },
        "an older codec than one before it",
    ),
    "segments repeat": ({"segments": [segment(), segment()]}, "number 0 or that of another"),
    "a segment that is not used up": ({"segments": [segment(number=9)]}, "not less than next_file"),
    "unknown codec": ({"segments": [segment(codec=2)]}, "does not list"),
    "codec behind the last": ({"segments": [segment(codec=5)]}, "does not list"),
    "too many vectors": ({"segments": [segment(vectors=2**32)]}, "than an index holds"),
    "no header": ({"segments": [segment(bytes=63)]}, "smaller than a header"),
    "more tombstones than vectors": (
        {"segments": [segment(tombstones=6, dead=101)]},
        "more tombstones than vectors",
    ),
    "tombstones without a file": ({"segments": [segment(dead=1)]}, "tombstones without a file"),
    "a file without tombstones": ({"segments": [segment(tombstones=6)]}, "without tombstones"),
    "checksum without a file": ({"segments": [segment(tombstones_crc=6)]}, "without a file"),
    "tombstones that are not used up": (
        {"segments": [segment(tombstones=9, dead=1)]},
        "not less than next_file",
    ),
}


def packed(manifest: _core.Manifest) -> bytes:
    """Write a manifest as FORMAT.md says, without checks."""
    m = manifest
    kind = 0 if m.row_kind is None else int(m.row_kind) + 1
    fields = (int(m.metric), m.d, m.number, m.log, m.next_file, m.next_id, m.nprobe, kind)
    target = {} if m.target_recall is None else {"TARGET": struct.pack("<d", m.target_recall)}
    return replaced_sections(
        sample(**({"nprobe": 1, "target_recall": 0.5} if target else {})).to_bytes(),
        **target,
        FOLDER=struct.pack(FOLDER, *fields, m.k_factor, 0),
        CODECS=b"".join(struct.pack(CODEC, c.number, c.fingerprint) for c in m.codecs),
        SEGMENTS=b"".join(
            struct.pack(
                SEGMENT,
                *(s.number, s.vectors, s.bytes, s.codec, s.tombstones, s.dead),
                *(s.crc, s.tombstones_crc),
            )
            for s in m.segments
        ),
    )


def replaced_sections(data: bytes, **contents: bytes) -> bytes:
    file = Container.parse(data)
    for tag, replacement in contents.items():
        file[tag].data = bytearray(replacement)
    return file.to_bytes()


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_impossible_manifests_are_neither_written_nor_read(name):
    changes, message = BAD_MANIFESTS[name]
    manifest = sample(**changes)
    with pytest.raises(ValueError, match=f"manifest: .*{message}") as error:
        manifest.to_bytes()
    assert not isinstance(error.value, wf.FormatError)
    with pytest.raises(wf.FormatError, match=f"damaged: manifest: .*{message}"):
        _core.Manifest.from_bytes(packed(manifest))


def folder_with(field: int, value: float) -> bytes:
    """The section FOLDER with one other field."""
    fields = list(struct.unpack(FOLDER, Container.parse(sample().to_bytes())["FOLDER"].data))
    fields[field] = value
    return struct.pack(FOLDER, *fields)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"FOLDER": folder_with(0, 3)}, "metric is unknown"),
        ({"FOLDER": folder_with(0, 2**32 - 1)}, "metric is unknown"),
        ({"FOLDER": folder_with(7, 4)}, "refine rows is unknown"),
        ({"FOLDER": folder_with(7, 2**32 - 1)}, "refine rows is unknown"),
        ({"FOLDER": folder_with(9, 1)}, "reserved byte"),
        ({"FOLDER": folder_with(0, 0) + bytes(4)}, "has 60 bytes, expected 56"),
        ({"CODECS": bytes(25)}, "CODECS ends within a record"),
        ({"SEGMENTS": bytes(55)}, "SEGMENTS ends within a record"),
    ],
)
def test_sections_that_cannot_be_of_a_manifest(contents, message):
    assert packed(sample()) == sample().to_bytes()
    with pytest.raises(wf.FormatError, match=message):
        _core.Manifest.from_bytes(replaced_sections(sample().to_bytes(), **contents))


labels_of = st.integers(0, 3000).flatmap(
    lambda n: st.tuples(
        st.just(n), st.sets(st.integers(0, n - 1), max_size=n) if n else st.just(())
    )
)


@given(st.integers(1, 2**64 - 1), labels_of)
def test_tombstones_are_read_as_they_were_written(segment, case):
    n, chosen = case
    labels = np.array(sorted(chosen), np.uint32)
    data = _core.tombstones_to_bytes(segment, n, labels)
    read_segment, read_n, read_labels = _core.tombstones_from_bytes(data)
    assert (read_segment, read_n, read_labels.dtype) == (segment, n, np.uint32)
    np.testing.assert_array_equal(read_labels, labels)
    # Either form is read; the smaller one is written.
    sorted_form, bitmap_form = as_sorted(segment, n, labels), as_bitmap(segment, n, labels)
    assert data == (sorted_form if 4 * len(labels) <= -(-n // 8) else bitmap_form)
    for form in (sorted_form, bitmap_form):
        np.testing.assert_array_equal(_core.tombstones_from_bytes(form)[2], labels)


def tombstones(segment: int, n: int, count: int, form: int, data: bytes, last: int = 0) -> bytes:
    """A file of tombstones as FORMAT.md says, without checks."""
    any_file = _core.tombstones_to_bytes(1, 8, np.zeros(1, np.uint32))
    return replaced_sections(
        any_file, DEAD=struct.pack(DEAD, segment, n, count, form, last), LABELS=data
    )


def as_sorted(segment: int, n: int, labels: np.ndarray) -> bytes:
    return tombstones(segment, n, len(labels), 0, labels.astype("<u4").tobytes())


def as_bitmap(segment: int, n: int, labels: np.ndarray) -> bytes:
    flags = np.zeros(n, bool)
    flags[labels] = True
    return tombstones(segment, n, len(labels), 1, np.packbits(flags, bitorder="little").tobytes())


def test_tombstones_are_in_a_container_of_their_own():
    file = Container.parse(_core.tombstones_to_bytes(3, 100, np.arange(4, dtype=np.uint32)))
    assert (file.kind, file.minor) == (TOMBSTONES_KIND, 5)
    assert [s.tag.rstrip(b"\0") for s in file.sections] == [b"DEAD", b"LABELS"]


def test_the_largest_label_of_the_largest_segment():
    n = 2**32 - 1
    labels = np.array([0, n - 1], np.uint32)
    data = _core.tombstones_to_bytes(1, n, labels)
    np.testing.assert_array_equal(_core.tombstones_from_bytes(data)[2], labels)


def u4(*labels: int) -> bytes:
    return np.array(labels, "<u4").tobytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tombstones(3, 10, 2, 0, u4(4, 10)), "not less than the number of vectors"),
        (tombstones(3, 10, 2, 0, u4(4, 4)), "do not ascend"),
        (tombstones(3, 10, 2, 0, u4(4, 3)), "do not ascend"),
        (tombstones(3, 10, 3, 0, u4(2, 3)), "has 8 bytes, expected 12"),
        (tombstones(3, 10, 1, 0, u4(2, 3)), "has 8 bytes, expected 4"),
        (tombstones(3, 10, 2, 1, b"\x03\x04"), "not less than|number of bits"),
        (tombstones(3, 10, 2, 1, b"\x01\x04"), "not less than the number of vectors"),
        (tombstones(3, 10, 2, 1, b"\x01\x00"), "another number of bits"),
        (tombstones(3, 10, 2, 1, b"\x03"), "has 1 bytes, expected 2"),
        (tombstones(3, 10, 2, 2, u4(4, 5)), "unknown form"),
        (tombstones(3, 10, 2, 0, u4(4, 5), last=1), "unknown form"),
        (tombstones(0, 10, 2, 0, u4(4, 5)), "number 0"),
        (tombstones(3, 1, 2, 0, u4(4, 5)), "more vectors than"),
        (tombstones(3, 2**32, 2, 0, u4(4, 5)), "more vectors than"),
        (tombstones(3, 2**64 - 1, 2**62 + 2, 0, u4(4, 5)), "more vectors than"),
        (tombstones(3, 2**32 - 1, 2**32 - 1, 0, u4(4, 5)), "has 8 bytes, expected"),
        (tombstones(3, 2**32 - 1, 2**32 - 1, 1, u4(4, 5)), "has 8 bytes, expected"),
    ],
)
def test_tombstones_that_are_refused(data, message):
    with pytest.raises(wf.FormatError, match=message):
        _core.tombstones_from_bytes(data)


@pytest.mark.parametrize(
    ("segment", "n", "labels", "message"),
    [
        (0, 10, [1], "number 0"),
        (1, 10, [1, 10], "not less than the number of vectors"),
        (1, 10, [1, 1], "do not ascend"),
        (1, 2**32, [1], "than an index holds"),
    ],
)
def test_tombstones_that_are_not_written(segment, n, labels, message):
    with pytest.raises(ValueError, match=f"tombstones: .*{message}") as error:
        _core.tombstones_to_bytes(segment, n, np.array(labels, np.uint32))
    assert not isinstance(error.value, wf.FormatError)


READERS: dict[str, Callable[[bytes], Any]] = {
    "1.5-manifest": _core.Manifest.from_bytes,
    "1.5-manifest-empty": _core.Manifest.from_bytes,
    "1.5-tombstones-sorted": _core.tombstones_from_bytes,
    "1.5-tombstones-bitmap": _core.tombstones_from_bytes,
}


@pytest.mark.parametrize("name", READERS)
def test_every_flipped_bit_and_every_truncation_is_refused(name):
    data, read = (GOLDEN / f"{name}.wf").read_bytes(), READERS[name]
    read(data)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(wf.FormatError):
            read(bytes(changed))
    for size in range(len(data)):
        with pytest.raises(wf.FormatError):
            read(data[:size])
    with pytest.raises(wf.FormatError):
        read(data + b"\0")


@pytest.mark.parametrize("name", READERS)
def test_files_are_not_taken_for_others(name):
    data = (GOLDEN / f"{name}.wf").read_bytes()
    kind = "the manifest of a folder" if "manifest" in name else "tombstones"
    with pytest.raises(wf.FormatError, match=f"holds {kind}, expected"):
        _core.index_from_bytes(data)
    other = READERS["1.5-tombstones-sorted" if "manifest" in name else "1.5-manifest"]
    with pytest.raises(wf.FormatError, match=f"holds {kind}, expected"):
        other(data)
    with pytest.raises(wf.FormatError, match="not a write-ahead log"):
        _core.read_log(data)
    older = Container.parse(data)
    older.minor = 4
    with pytest.raises(wf.FormatError, match=r"belongs to format 1\.5"):
        READERS[name](older.to_bytes())


def test_golden_manifests():
    data = (GOLDEN / "1.5-manifest.wf").read_bytes()
    manifest = _core.Manifest.from_bytes(data)
    assert manifest.to_bytes() == data
    assert (manifest.metric, manifest.row_kind) == (_core.Metric.l2, _core.RowKind.float16)
    assert (manifest.d, manifest.number, manifest.log, manifest.next_file) == (12, 9, 7, 10)
    assert (manifest.next_id, manifest.nprobe, manifest.k_factor) == (5000, 3, 2.5)
    assert [(c.number, c.fingerprint[0]) for c in manifest.codecs] == [(1, 200), (4, 0)]
    first, second = manifest.segments
    assert (first.number, first.vectors, first.bytes, first.codec) == (2, 500, 9000, 1)
    assert (first.crc, first.tombstones, first.dead) == (0x12345678, 0, 0)
    assert (second.tombstones, second.dead, second.tombstones_crc) == (8, 17, 0x01020304)
    data = (GOLDEN / "1.5-manifest-empty.wf").read_bytes()
    assert _core.Manifest.from_bytes(data).segments == ()
    assert _core.Manifest.from_bytes(data).to_bytes() == data


def test_golden_tombstones():
    for name, labels in (
        ("sorted", np.array([0, 7, 8, 999])),
        ("bitmap", np.arange(0, 1000, 3)),
    ):
        data = (GOLDEN / f"1.5-tombstones-{name}.wf").read_bytes()
        segment, n, got = _core.tombstones_from_bytes(data)
        assert (segment, n) == (5, 1000)
        np.testing.assert_array_equal(got, labels)
        assert _core.tombstones_to_bytes(segment, n, got) == data
