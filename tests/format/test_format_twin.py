"""FORMAT.md, the code and cpp/format.ksy agree: what the twin reads is what waterfill says.

The twin and the helpers around it know the format from the document alone. They verify checksums,
padding and the sections that follow from others with code of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.derived_sections import check_ids, check_lists
from support.folder_model import codec_of, some_vectors
from support.format_comparison import METRICS, check_codec, check_vectors, target_of
from support.format_twin import bodies_of, codes_of, crc32c, lists_of, matrix, read_container
from support.trained import trained

import waterfill as wf

GOLDEN = Path(__file__).parents[1] / "golden"


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
