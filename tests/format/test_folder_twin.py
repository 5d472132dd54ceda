"""FORMAT.md, the code and cpp/format.ksy agree on the files of folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.folder_model import KINDS, options_of, some_vectors
from support.format_comparison import METRICS, check_codec, check_vectors, target_of
from support.format_twin import bodies_of, crc32c, read_container, read_log

import waterfill as wf
from waterfill import _core

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("kind", KINDS)
def test_folders(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "folder"
    first, second = some_vectors(400, seed=3), some_vectors(150, seed=4)
    dead = {"few": np.array([3, 77]), "many": np.arange(400, 540, 2)}
    with wf.open_index(path, "w", compaction="off", **options_of(kind)) as index:
        index.add_with_ids(first, np.arange(400)[::-1])
        index.flush()
        index.add(second)  # ids from 400 on
        index.flush()
        for ids in dead.values():
            index.remove_ids(ids)
        index.flush()
        index.add(some_vectors(5, seed=5))
        index.upsert([7, 9], some_vectors(2, seed=6))
        index.remove_ids(np.array([11, 12, 13]))
        manifest = check_manifest((path / "MANIFEST").read_bytes(), index)
        codecs = check_codecs(path, manifest)
        for entry, x, own in zip(
            manifest["SEGMENTS"].records, (first, second), dead.values(), strict=True
        ):
            check_segment(path, entry, codecs[entry.codec], index, x)
            check_tombstones(path, entry, 399 - own[::-1] if len(own) == 2 else own - 400)
        check_log(path, manifest, index)


def check_manifest(data: bytes, index: Any) -> dict[str, Any]:
    """Compare a manifest with an open folder and with the reader of the core."""
    bodies = bodies_of(read_container(data))
    folder, core = bodies["FOLDER"], _core.Manifest.from_bytes(data)
    assert folder.metric.name == METRICS[index.metric]
    assert folder.d == index.d
    assert folder.nprobe == getattr(index, "nprobe", 0)
    assert target_of(bodies) == core.target_recall == getattr(index, "target_recall", None)
    assert folder.row_kind.name == (index.refine or "none")
    for name in ("number", "log", "next_file", "next_id", "k_factor"):
        assert getattr(folder, name) == getattr(core, name)
    names = {"num_vectors": "vectors", "len_file": "bytes", "num_dead": "dead"}
    for own, other in zip(bodies["SEGMENTS"].records, core.segments, strict=True):
        for name in ("number", "codec", "tombstones", "crc", "tombstones_crc", *names):
            assert getattr(own, name) == getattr(other, names.get(name, name))
    return bodies


def check_codecs(path: Path, manifest: dict[str, Any]) -> dict[int, tuple[wf.Codec, bytes]]:
    """Return the codecs of a folder with their fingerprints by number."""
    codecs = {}
    for entry in manifest["CODECS"].records:
        data = (path / f"codec-{entry.number:06}.wf").read_bytes()
        codec = wf.Codec.from_bytes(data)
        check_codec(bodies_of(read_container(data)), codec)
        assert codec.fingerprint.startswith(entry.fingerprint.hex())
        codecs[entry.number] = (codec, entry.fingerprint)
    return codecs


def check_segment(
    path: Path, entry: Any, codec: tuple[wf.Codec, bytes], folder: Any, x: np.ndarray
) -> None:
    """Compare a segment with an index in memory of the same vectors."""
    data = (path / f"segment-{entry.number:06}.wf").read_bytes()
    assert len(data) == entry.len_file
    assert crc32c(data[:64]) == entry.crc
    bodies = bodies_of(read_container(data))
    assert bodies["SEGMENT"].fingerprint == codec[1]
    index = wf.IndexFlat(codec[0], folder.metric, refine=folder.refine)
    first = len(x) == 400
    index.add_with_ids(x, np.arange(400)[::-1] if first else np.arange(400, 550))
    check_vectors(bodies, index, consecutive=True)
    assert bodies["IDINFO"].form.name == ("ordered" if first else "consecutive")


def check_tombstones(path: Path, entry: Any, labels: np.ndarray) -> None:
    """Compare the removed vectors of a segment."""
    name = f"segment-{entry.number:06}.{entry.tombstones:06}.dead"
    data = (path / name).read_bytes()
    assert crc32c(data[:64]) == entry.tombstones_crc
    bodies = bodies_of(read_container(data))
    dead = bodies["DEAD"]
    assert (dead.segment, dead.num_vectors) == (entry.number, entry.num_vectors)
    assert dead.num_dead == entry.num_dead == len(labels)
    smaller = "sorted" if 4 * len(labels) <= -(-entry.num_vectors // 8) else "bitmap"
    assert dead.form.name == smaller
    np.testing.assert_array_equal(labels_of(bodies), labels)


def labels_of(bodies: dict[str, Any]) -> np.ndarray:
    """Return the labels in either form; no bit follows that of the last vector."""
    if bodies["DEAD"].form.name == "sorted":
        return np.array(bodies["LABELS"].labels, int)
    return np.flatnonzero(bodies["LABELS"].bitmap)


def check_log(path: Path, manifest: dict[str, Any], index: Any) -> None:
    """Compare the records of a log with the changes since the manifest."""
    log = read_log((path / f"log-{manifest['FOLDER'].log:06}.wfl").read_bytes())
    assert log.number == manifest["FOLDER"].log
    assert log.len_code == index.codec.code_size
    assert log.fingerprint == manifest["CODECS"].records[-1].fingerprint
    assert [record.kind.name for record in log.records] == ["append", "upsert", "remove"]
    assert [record.ids for record in log.records] == [
        list(range(550, 555)),
        [7, 9],
        [11, 12, 13],
    ]
    last = [bytes(code) for code in index.codes()[-7:]]
    assert log.records[0].codes + log.records[1].codes == last
    assert not hasattr(log.records[2], "codes")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("folder/*.wf")), ids=lambda path: path.stem)
def test_golden_files_of_folders(path: Path) -> None:
    data = path.read_bytes()
    if "log" in path.stem:
        records, *_ = _core.read_log(data)
        twin = read_log(data).records
        assert [record.kind.name for record in twin] == [kind for kind, *_ in records]
        for own, (_, ids, codes, rows) in zip(twin, records, strict=True):
            np.testing.assert_array_equal(own.ids, ids)
            if codes is not None:
                assert b"".join(own.codes) == codes.tobytes()
                assert b"".join(own.rows) == rows.tobytes()
        return
    bodies = bodies_of(read_container(data))
    if "tombstones" in path.stem:
        dead = bodies["DEAD"]
        segment, n, labels = _core.tombstones_from_bytes(data)
        assert (dead.segment, dead.num_vectors, dead.num_dead) == (segment, n, len(labels))
        np.testing.assert_array_equal(labels_of(bodies), labels)
        return
    core = _core.Manifest.from_bytes(data)
    assert target_of(bodies) == core.target_recall
    assert (core.target_recall is not None) == ("target" in path.stem)
    entries = [(entry.number, entry.fingerprint) for entry in bodies["CODECS"].records]
    assert entries == [(codec.number, codec.fingerprint) for codec in core.codecs]
    assert [entry.len_file for entry in bodies["SEGMENTS"].records] == [
        segment.bytes for segment in core.segments
    ]


def test_torn_logs() -> None:
    data = (GOLDEN / "folder" / "1.5-log.wf").read_bytes()
    ends = [record.start for record in read_log(data).records] + [len(data)]
    for size in range(64, len(data), 7):
        records, _, _, torn = _core.read_log(data[:size])
        twin = read_log(data[:size])
        own = [record for record in getattr(twin, "records", []) if not record.is_torn]
        assert len(own) == len(records) == sum(end <= size for end in ends[1:])
        assert torn == (size not in ends)
    zeros = read_log(data + bytes(700)).records
    assert [record.is_torn for record in zeros] == [False] * 4 + [True]
