"""An index as a file of stock FAISS: the same codes, without FAISS's help."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.atomic_file import whole_or_nothing
from waterfill.codec import Codes
from waterfill.faiss.export_scale import Facts, Levels, Line, measure
from waterfill.faiss.export_space import Decoder, Space, build_space
from waterfill.faiss.file_writer import INNER_PRODUCT, L2, Writer
from waterfill.index.base import Index
from waterfill.index.ivf import IndexIVF
from waterfill.training.train import QUARTERS

_BLOCK_BYTES = 4 << 20
# FAISS's bytes have a range a dimension, ours one a row.
_ROW_TYPES = {"float32": "<f4", "float16": "<f2", "int8": "<f2"}
_ALONE = 4.0  # distance of a centroid that nothing is nearest to, beside all offsets


def export_faiss(
    index: Any, path: str | os.PathLike[str], *, offsets: bool = True, rows: bool = True
) -> None:
    """Write an index to a file that stock FAISS reads, without importing FAISS.

    Codes are not made anew: an ``IndexPQ`` holds them, or where vectors are coded from the
    centroids of cells an ``IndexIVFPQ``, behind an ``IndexPreTransform``; an ``IndexIDMap2`` holds
    explicit ids. ``docs/faiss-export.md`` says what is where, and what FAISS's scores lose.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
    path : str or path-like
        The file appears under its name whole or not at all; an existing one is replaced.
    offsets : bool
        Give each code a byte more that makes up for most of what is lost, where that finds more
        neighbours. Not for an L2 index that FAISS is to add to: it cannot give its own vectors such
        offsets, and ranks them before the others.
    rows : bool
        Write what `refine` keeps, too, in an ``IndexRefine``: float32 rows as they are, float16 and
        int8 rows as float16. FAISS neither removes from such an index nor searches it by radius,
        and its filters go one level deeper. An array of your own is never written.

    Raises
    ------
    ValueError
        If the codec has a score that FAISS cannot compute (a classic plan with `pq_multiplier`),
        `path` has a null character, or an int8 row has values that float16 does not hold.
    TypeError
        If `index` is not an index of waterfill.
    NotTrainedError
        If it is not trained.
    OSError
        What the file system says.
    """
    if not isinstance(index, Index):
        raise TypeError(f"index must be a waterfill index, got {type(index).__name__}")
    with index._writing:  # the codes are gone through more than once
        source = Source(index, rows=rows)
        with whole_or_nothing(path) as file:
            _Export(source, offsets=offsets).write(Writer(file))


class Source:
    """What an export reads of an index."""

    def __init__(self, index: Index, *, rows: bool = True) -> None:
        self._core = index._trained()
        codec = self._core.codec
        self.settings = codec.settings
        if self.settings["pq_multiplier"]:
            raise ValueError(
                f"index: its plan has pq_multiplier={self.settings['pq_multiplier']:g}, a score "
                "that FAISS cannot compute; make the plan without it"
            )
        self.decoder = Decoder(codec.arrays, self.settings)
        self.d, self.n = index.d, index.ntotal
        self.cosine = index.metric == "cosine"
        self.l2 = index.metric == "l2"
        self.alpha = self.settings["alpha_l2" if self.l2 else "alpha_ip"] / QUARTERS
        # A flat index looks at all of its cells, or at those that can matter.
        self.nprobe = index.nprobe if isinstance(index, IndexIVF) else self.decoder.cells
        self.row_type = _ROW_TYPES.get(index.refine) if isinstance(index.refine, str) else None
        if not rows:
            self.row_type = None
        self.k_factor = index.k_factor
        # Lists hold ids themselves, unless an IndexRefine looks up rows by what they give, or an
        # IDMap was asked for, which LlamaIndex wants to find in the file.
        listed = self.decoder.cells and self.row_type is None and not index._keeps_ids
        self.mapped = index.has_ids and not listed
        self._block = max(1, _BLOCK_BYTES // max(codec.code_size, 8 * self.decoder.groups))

    def codes(self, first: int, n: int) -> Codes:
        """Return the codes of labels first to first + n - 1: in order of arrival, not by list."""
        return self._core.codes(first, n)

    def ids(self, first: int, n: int) -> NDArray[np.int64]:
        """Return their ids."""
        return self._core.ids(first, n)

    def rows(self) -> Iterator[NDArray[Any]]:
        """Go through what is kept to refine with."""
        assert self.row_type is not None
        step = max(1, _BLOCK_BYTES // (4 * self.d))
        for first in range(0, self.n, step):
            with np.errstate(over="ignore"):
                block = self._core.refine_rows(first, min(step, self.n - first)).astype(
                    self.row_type
                )
            if not np.isfinite(block).all():
                raise ValueError(
                    "index: its int8 rows have values beyond 65504, which float16 does not hold; "
                    "rows=False leaves them out"
                )
            yield block

    def blocks(self) -> Iterator[tuple[int, Codes]]:
        """Go through all codes; yield first labels and codes."""
        for first in range(0, self.n, self._block):
            yield first, self.codes(first, min(self._block, self.n - first))


class _Export:
    """One export: what is measured first, and then written."""

    def __init__(self, source: Source, *, offsets: bool) -> None:
        self._source = source
        self._metric = L2 if source.l2 else INNER_PRODUCT
        self.correction = measure(
            source.decoder,
            source.codes,
            source.n,
            alpha=source.alpha,
            l2=source.l2,
            offsets=offsets,
        )
        self._offsets = np.zeros(0, dtype=np.float32)
        self._sizes = np.zeros(source.decoder.cells, dtype=np.int64)
        self._survey()
        least = float(self._offsets.min(initial=0))
        self.levels = Levels(least, float(self._offsets.max(initial=0)), l2=source.l2)
        self.space = self._build()

    @property
    def code_size(self) -> int:
        return len(self.space.books)

    def _survey(self) -> None:
        """Count the vectors of each cell, and find all offsets."""
        source, decoder = self._source, self._source.decoder
        leaning = isinstance(self.correction.typical, Line)
        if self.correction.pays:
            self._offsets = np.empty(source.n, dtype=np.float32)
        for first, codes in source.blocks():
            if decoder.cells:
                self._sizes += np.bincount(decoder.cell_numbers(codes), minlength=decoder.cells)
            if self.correction.pays:
                facts = Facts.of(decoder, codes, source.alpha, all_of_them=leaning)
                found = self.correction.offsets(facts, l2=source.l2)
                self._offsets[first : first + len(codes)] = found

    def _build(self) -> Space:
        made, l2 = self.correction, self._source.l2
        space = build_space(self._source.decoder, scale=made.scale, l2=l2, extra=made.pays)
        if made.pays:
            values = self.levels.values
            space.books[-1, :, 0] = np.sqrt(values) if l2 else values
            if not l2:  # nothing that FAISS encodes is near to these, and queries are 0 there
                space.books[-1, 1:, 1] = _ALONE * (1 + np.abs(values).max())
        return space

    def _stored(self, first: int, codes: Codes) -> Codes:
        """Return the bytes that FAISS gets of codes."""
        groups = codes[:, : self._source.decoder.groups]
        if not self.correction.pays:
            return np.ascontiguousarray(groups)
        offsets = self._offsets[first : first + len(codes)]
        return np.concatenate([groups, self.levels.bytes(offsets)[:, None]], axis=1)

    def write(self, writer: Writer) -> None:
        source = self._source
        if source.mapped:
            writer.header("IxM2", source.d, source.n, self._metric)
        if source.row_type is None:
            self._write_codes(writer, normalize=source.cosine)
        else:
            # Rows are compared with the query, so that it is normalized before they are.
            if source.cosine:
                writer.header("IxPT", source.d, source.n, self._metric)
                writer.pack("i", 1)
                writer.normalization(source.d)
            writer.header("IxRF", source.d, source.n, self._metric)
            self._write_codes(writer, normalize=False)
            writer.rows(source.rows(), source.d, source.n, self._metric, source.row_type)
            writer.pack("f", source.k_factor)
        if source.mapped:
            self._write_ids(writer)

    def _write_codes(self, writer: Writer, *, normalize: bool) -> None:
        source, space = self._source, self.space
        writer.header("IxPT", source.d, source.n, self._metric)
        writer.pack("i", 3 + normalize)
        if normalize:
            writer.normalization(source.d)
        writer.remap(source.d, space.widen)
        writer.linear(space.matrix, space.bias)
        writer.remap(len(space.matrix), space.slots)
        if source.decoder.cells:
            self._write_lists(writer)
        else:
            self._write_flat(writer)

    def _write_flat(self, writer: Writer) -> None:
        source = self._source
        writer.header("IxPq", len(self.space.slots), source.n, self._metric)
        writer.product_quantizer(self.space.books)
        writer.pack("Q", source.n * self.code_size)
        for first, codes in source.blocks():
            writer.file.write(self._stored(first, codes).data)
        writer.pack("iBi", 0, 0, 0)  # search type, signs, threshold of polysemous codes

    def _write_ids(self, writer: Writer) -> None:
        source = self._source
        writer.pack("Q", source.n)
        step = _BLOCK_BYTES // 8
        for first in range(0, source.n, step):
            ids = source.ids(first, min(step, source.n - first))
            writer.file.write(np.ascontiguousarray(ids, dtype="<i8").data)

    def _write_lists(self, writer: Writer) -> None:
        source, space = self._source, self.space
        width = len(space.slots)
        writer.header("IwPQ", width, source.n, self._metric)
        writer.pack("QQ", len(space.origins), min(source.nprobe, len(space.origins)))
        # FAISS builds tables for L2, as large as many codes, unless the quantizer says that it is
        # for inner products; its own vectors are compared by L2 either way.
        if not source.l2:
            writer.header("IxPT", width, len(space.origins), self._metric)
            writer.pack("i", 0)
        writer.flat(space.origins)
        self._write_direct_map(writer)
        writer.pack("BQ", 1, self.code_size)  # by residual
        writer.product_quantizer(space.books)
        writer.list_sizes(self._sizes, self.code_size)
        self._scatter(writer)

    def _placed(self) -> Iterator[tuple[int, Codes, NDArray[np.int64], NDArray[np.int64]]]:
        """Go through all codes; yield first labels, codes, and their cells and places in these."""
        done = np.zeros(len(self._sizes), dtype=np.int64)
        for first, codes in self._source.blocks():
            cells = self._source.decoder.cell_numbers(codes)
            order = np.argsort(cells, kind="stable")
            numbers, starts, counts = np.unique(cells[order], return_index=True, return_counts=True)
            ranks = np.empty(len(cells), dtype=np.int64)
            ranks[order] = np.arange(len(cells)) + np.repeat(done[numbers] - starts, counts)
            done[numbers] += counts
            yield first, codes, cells, ranks

    def _write_direct_map(self, writer: Writer) -> None:
        """Under an IDMap2, tell where each label lies.

        Then ids can be reconstructed; and FAISS refuses to remove from the lists. Without this it
        would remove, and the map would be wrong for all others.
        """
        if not self._source.mapped:
            writer.pack("BQ", 0, 0)
            return
        writer.pack("BQ", 1, self._source.n)
        for _, _, cells, ranks in self._placed():
            writer.file.write((cells << 32 | ranks).astype("<i8").data)

    def _scatter(self, writer: Writer) -> None:
        """Put each code and id where its list is in the file."""
        source, size = self._source, self.code_size
        if source.n == 0:
            return
        start = writer.file.tell()
        writer.file.truncate(start + source.n * (size + 8))
        writer.file.flush()
        place = np.memmap(writer.file, np.uint8, "r+", start, (source.n * (size + 8),))
        firsts = np.cumsum([0, *self._sizes[:-1]]) * (size + 8)
        ids_at = firsts + self._sizes * size
        for first, codes, cells, ranks in self._placed():
            labels = np.arange(first, first + len(codes))
            ids = labels if source.mapped else source.ids(first, len(codes))
            _put(place, firsts[cells] + ranks * size, self._stored(first, codes))
            _put(place, ids_at[cells] + ranks * 8, ids.astype("<i8").view(np.uint8).reshape(-1, 8))
        place.flush()
        writer.file.seek(0, os.SEEK_END)


def _put(place: NDArray[np.uint8], at: NDArray[np.int64], rows: Codes) -> None:
    place[at[:, None] + np.arange(rows.shape[1])] = rows
