"""FORMAT.md, the code and cpp/format.ksy agree: what the twin reads is what waterfill says.

The twin and the helpers around it know the format from the document alone. They verify checksums,
padding and the sections that follow from others with code of their own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.derived_sections import check_ids, check_lists
from support.folder_model import KINDS, codec_of, options_of, some_vectors
from support.format_twin import (
    bodies_of,
    codes_of,
    crc32c,
    lists_of,
    matrix,
    read_container,
    read_log,
    rows_of,
)
from support.trained import trained

import waterfill as wf
from waterfill import _core

GOLDEN = Path(__file__).parents[1] / "golden"
METRICS = {"ip": "inner_product", "l2": "l2", "cosine": "cosine"}


def check_codec(bodies: dict[str, Any], codec: wf.Codec) -> None:
    """Compare the sections of a codec."""
    arrays, settings, params = codec._core.arrays, codec._core.settings, bodies["PARAMS"]
    assert (params.d, params.num_groups) == (codec.d, codec._core.groups)
    assert params.num_coded == len(arrays["basis"])
    shapes = [(group.num_dimensions, group.kind.name) for group in bodies["SHAPES"].groups]
    assert shapes == arrays["shapes"]
    np.testing.assert_array_equal(np.array(bodies["MEAN"].values, "f4"), arrays["mean"])
    np.testing.assert_array_equal(np.array(bodies["WEIGHTS"].values, "f4"), arrays["weights"])
    for tag, name in {"BASIS": "basis", "BOOKS": "books", "CELLS": "cells"}.items():
        np.testing.assert_array_equal(matrix(bodies[tag]), arrays[name])
    second = bodies["RESTS"].second_bytes if "RESTS" in bodies else []
    assert [(byte.column, byte.first_column) for byte in second] == arrays["rests"]
    assert (params.alpha_ip, params.alpha_l2) == (settings["alpha_ip"], settings["alpha_l2"])
    for depth, name in ((params.depth_ip, "depth_ip"), (params.depth_l2, "depth_l2")):
        assert (depth.refine_factor, depth.coarse_groups) == settings[name]
    assert (params.scale.low, params.scale.step) == settings["scale"]
    assert (params.extra.low, params.extra.step) == settings["cell_length"]
    assert params.constant_norm == settings["constant_norm"]
    assert params.classic_multiplier == settings["pq_multiplier"]
    assert bool(params.normalize) == settings["normalize"]
    joint = bodies["JOINT"].exponent if "JOINT" in bodies else 0
    assert joint == settings["joint"]
    assert json.loads(bodies["PLAN"].json) == json.loads(codec.plan.to_json())
    manifest = codec.manifest
    assert ("MANIFEST" in bodies) == (manifest is not None)
    if manifest is not None:
        assert json.loads(bodies["MANIFEST"].json)["rows"] == manifest.rows
    check_cells(bodies, codec)


def check_cells(bodies: dict[str, Any], codec: wf.Codec) -> None:
    """Compare the cells of the space."""
    settings = codec._core.settings
    assert ("CELLSPEC" in bodies) == ("CENTROID" in bodies) == (codec.cells > 0)
    if codec.cells == 0:
        return
    spec = bodies["CELLSPEC"]
    assert spec.num_cells == codec.cells
    assert spec.calibration_rows == codec._core.calibration_rows
    assert (spec.middle, spec.norm_range, spec.centroid_range) == settings["offset"]
    sigma = np.array([spec.prune_sigma_ip, spec.prune_sigma_l2], "f4")
    np.testing.assert_array_equal(sigma, np.array(settings["prune_sigma"], "f4"))
    np.testing.assert_array_equal(matrix(bodies["CENTROID"]), codec._core.arrays["centroids"])
    assert ("CELLRULE" in bodies) == settings["by_direction"]
    recall = codec._core.list_recall
    assert ("PROBES" in bodies) == bool(recall["ip"][0])
    if "PROBES" in bodies:
        probes = bodies["PROBES"]
        for metric, (missed, decay) in recall.items():
            shares = [one.share for one in getattr(probes, f"missed_{metric}")]
            assert (shares, getattr(probes, f"decay_{metric}")) == (missed, decay)


def check_vectors(bodies: dict[str, Any], index: Any, *, consecutive: bool = False) -> None:
    """Compare vectors with those of an index: codes, lists, ids, refine rows."""
    codec, n = index.codec, index.ntotal
    assert bodies["INDEX"].num_vectors == n
    assert bodies["INDEX"].metric.name == METRICS[index.metric]
    assert bool(bodies["INDEX"].uses_extra) == index._core.keeps_extra
    lists = lists_of(bodies, max(codec.cells, 1))
    expected, groups = index.codes(), codec._core.groups
    np.testing.assert_array_equal(codes_of(bodies, lists, groups), expected[:, : groups + 1])
    if codec.cells > 0:
        cells = np.array(bodies["LISTOF"].values, "u2" if codec.cells > 256 else "u1")
        np.testing.assert_array_equal(
            cells.view(np.uint8).reshape(n, codec.code_size - groups - 1), expected[:, groups + 1 :]
        )
    assert len(bodies["EXTRA"].values) == (n if index._core.keeps_extra else 0)
    np.testing.assert_array_equal(check_ids_of(bodies, n, consecutive), index.ids())
    if "LISTS" in bodies:
        check_lists(bodies, lists)
    assert ("REFINE" in bodies) == (index._core.refine_row_kind is not None)
    if "REFINE" in bodies:
        assert bodies["REFINE"].kind.name == index._core.refine_row_kind.name
        np.testing.assert_allclose(
            rows_of(bodies).reshape(n, codec.d),
            index._core.refine_rows(0, n),
            rtol=1e-6,
            atol=1e-6,
        )


def check_ids_of(bodies: dict[str, Any], n: int, consecutive: bool) -> np.ndarray:
    """Return the ids; before format 1.5 nothing follows from them."""
    if "LISTS" in bodies:
        return check_ids(bodies, consecutive=consecutive)
    return np.array(bodies["IDS"].values, np.int64) if "IDS" in bodies else np.arange(n)


def check_index(data: bytes, index: Any) -> None:
    """Compare an index file with the index."""
    container = read_container(data)
    bodies = bodies_of(container)
    check_codec(bodies, index.codec)
    check_vectors(bodies, index)
    inverted = isinstance(index, wf.IndexIVF)
    assert container.kind.name == ("ivf_index" if inverted else "flat_index")
    assert ("IVF" in bodies) == inverted
    if inverted:
        assert bodies["IVF"].nprobe == index.nprobe
    assert target_of(bodies) == getattr(index, "target_recall", None)
    if "REFINE" in bodies:
        assert bodies["REFINE"].k_factor == index.k_factor


def target_of(bodies: dict[str, Any]) -> float | None:
    """Return the target recall of an index or a folder, if it has one."""
    return bodies["TARGET"].recall if "TARGET" in bodies else None


def graph_coordinates(bodies: dict[str, Any]) -> np.ndarray:
    """Return the coordinates of the rows of a graph."""
    high = np.array([list(row.high_nibbles) for row in bodies["FRONTS"].rows], int).reshape(-1, 52)
    low = np.array([list(row.low_nibbles) for row in bodies["REMAINS"].rows], int).reshape(-1, 52)
    tail = np.array([list(row.octets) for row in bodies["REMAINS"].rows], int)
    d, n = bodies["GRAPH"].d, len(high)
    front = np.hstack([(high & 15) << 4 | low & 15, high & 240 | low >> 4])[:, :d]
    values = np.hstack([front, tail.reshape(n, max(d - 104, 0))])
    scales = np.array([row.scale for row in bodies["FRONTS"].rows])[:, None]
    return scales * np.array(bodies["STEPS"].values) * (values - 127.5)


def check_graph(data: bytes, index: Any) -> None:
    """Compare the file of a graph with the index."""
    container = read_container(data)
    bodies, n = bodies_of(container), index.ntotal
    graph = bodies["GRAPH"]
    assert container.kind.name == "graph_index"
    assert (graph.d, graph.num_links, graph.num_vectors) == (index.d, index.M, n)
    assert graph.metric.name == METRICS[index.metric]
    assert (graph.ef_search, graph.ef_construction) == (
        index.hnsw.efSearch,
        index.hnsw.efConstruction,
    )
    vectors = graph_coordinates(bodies) @ matrix(bodies["BASIS"]) + bodies["MEAN"].values
    np.testing.assert_allclose(vectors, index.reconstruct_n(), rtol=1e-4, atol=1e-4)
    for position, row in enumerate(bodies["LINKS"].rows):
        links = index.neighbors(position).tolist()
        assert row.values == links + [2**32 - 1] * (index.M - len(links))
    assert bool(graph.has_ids) == ("IDS" in bodies) == ("NEXTID" in bodies) == index.has_ids
    if graph.has_ids:
        assert bodies["IDS"].values == index.ids().tolist()
        assert bodies["NEXTID"].next > index.ids().max()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("graph/*.wf")), ids=lambda path: path.stem)
def test_golden_graphs(path: Path) -> None:
    check_graph(path.read_bytes(), wf.read_index(path))


@pytest.mark.parametrize("metric", METRICS)
def test_graphs(metric: str, tmp_path: Path) -> None:
    x = some_vectors(200, seed=3)
    index = wf.IndexHNSW(x.shape[1], 5, metric)
    index.train(x)
    index.add_with_ids(x, np.arange(200) * 10**10)
    index.remove_ids(np.array([0, 10**10]))
    wf.write_index(index, tmp_path / "graph")
    check_graph((tmp_path / "graph").read_bytes(), index)


def test_the_checksum_is_that_of_the_document() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.wf")), ids=lambda path: path.stem)
def test_golden_files(path: Path) -> None:
    check_index(path.read_bytes(), wf.read_index(path))


@pytest.mark.parametrize("kind", ["flat", "cells"])
def test_codecs(kind: str) -> None:
    codec = codec_of(kind)
    container = read_container(codec.to_bytes())
    assert container.kind.name == "codec"
    check_codec(bodies_of(container), codec)


def codecs_for(metric: str) -> tuple[wf.Codec, wf.Codec]:
    """Return a codec without cells and one with cells."""
    if metric != "cosine":
        return codec_of("flat"), codec_of("cells")
    x = some_vectors(2000, seed=1)
    return trained(x, 8, normalize=True, cells=0), trained(x, 7, normalize=True, cells=12)


IDS = {
    "none": None,
    "consecutive": np.arange(1000, 1300),
    "ascending": np.arange(300) // 3 * 10**10,
    "ordered": np.arange(300)[::-1] * 10**10 - 77,
    "largest": np.arange(300) + (2**63 - 300),
}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
@pytest.mark.parametrize("refine", [None, "float32", "float16", "int8"])
@pytest.mark.parametrize("metric", METRICS)
def test_indexes(metric: str, refine: str | None, ids: np.ndarray | None, tmp_path: Path) -> None:
    flat, cells = codecs_for(metric)
    ivf = wf.IndexIVF(cells, 12, metric=metric, refine=refine)
    ivf.nprobe = 5
    for index in (wf.IndexFlat(flat, metric, refine=refine), ivf):
        x = some_vectors(300, seed=3)
        if ids is None:
            index.add(x)
        else:
            index.add_with_ids(x, ids)
        index.remove_ids(np.array([3, 1007, -77]))
        wf.write_index(index, tmp_path / "index")
        check_index((tmp_path / "index").read_bytes(), index)


def test_an_index_without_vectors(tmp_path: Path) -> None:
    for kind in ("flat", "cells"):
        index = wf.IndexFlat(codec_of(kind), "l2", refine="int8")
        wf.write_index(index, tmp_path / kind)
        check_index((tmp_path / kind).read_bytes(), index)


def test_labels_of_two_bytes(tmp_path: Path) -> None:
    codec = wf.Codec.train(some_vectors(4000, seed=1), codec_of("flat").plan, cells=2100)
    index = wf.IndexIVF(codec, 2100, metric="l2")
    index.add_with_ids(some_vectors(500, seed=2), np.random.default_rng(3).permutation(500))
    wf.write_index(index, tmp_path / "index")
    check_index((tmp_path / "index").read_bytes(), index)


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


SEEDS = sorted((Path(__file__).parents[2] / "cpp" / "fuzz" / "seeds").glob("*.wf"))


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_codecs_with_a_segment(path: Path) -> None:
    """The seeds of a fuzz target: a codec file with a segment file behind it."""
    data = path.read_bytes()
    cut = int.from_bytes(data[16:24], "little")
    codec = wf.Codec.from_bytes(data[:cut])
    check_codec(bodies_of(read_container(data[:cut])), codec)
    container = read_container(data[cut:])
    assert container.kind.name == "segment"
    bodies = bodies_of(container)
    lists = lists_of(bodies, max(codec.cells, 1))
    codes_of(bodies, lists, codec._core.groups)
    check_lists(bodies, lists)
    check_ids(bodies, consecutive=True)


MUST_REJECT = sorted((GOLDEN / "must_reject").glob("*.wf"))

NOT_REFUSED = {
    # Numbers: not finite, or out of a range that depends on others.
    *("basis-infinite", "basis-long-row", "books-huge", "books-nan", "cells-huge", "rows-nan"),
    *("centroid-infinite", "mean-nan", "rests", "shapes-width"),
    # Sections: which there are, and their versions.
    *("cellrule-version", "probes-version", "ivf-of-flat-index", "minor-version"),
    *("target-of-flat-index", "target-version"),
    *("section-missing", "section-short", "section-unknown", "tag-after-zero", "tag-empty"),
}


@pytest.mark.parametrize("path", MUST_REJECT, ids=lambda path: path.stem)
def test_most_faults_are_refused_without_the_library(path: Path) -> None:
    def read() -> None:
        bodies = bodies_of(read_container(path.read_bytes()))
        lists = lists_of(bodies, bodies["CELLSPEC"].num_cells if "CELLSPEC" in bodies else 1)
        codes_of(bodies, lists, bodies["PARAMS"].num_groups)
        if "LISTS" in bodies:
            check_lists(bodies, lists)
            check_ids(bodies, consecutive=False)

    if path.stem in NOT_REFUSED:
        read()
    else:
        with pytest.raises(Exception):  # noqa: B017, PT011
            read()


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
