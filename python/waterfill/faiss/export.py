"""`export_faiss` and `to_faiss`: an index as one of stock FAISS, in a file or in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.atomic_file import atomic_write
from waterfill._util.optional import require_faiss
from waterfill.encoding import Codes
from waterfill.faiss.export_scale import CodeStats, Levels, Line, measure
from waterfill.faiss.export_space import Decoder, Doubles, Space, build_space
from waterfill.faiss.file_writer import INNER_PRODUCT, L2, Writer
from waterfill.index.base import Index
from waterfill.index.ivf import IndexIVF
from waterfill.training.train import QUARTERS

_BLOCK_BYTES = 4 << 20
# int8 rows become float16: a FAISS SQ8 has a range per dimension, waterfill's rows one per row.
_ROW_TYPES = {"float32": "<f4", "float16": "<f2", "int8": "<f2"}
_MAX_K_FACTOR = 1000  # FAISS 1.15 refuses a file with more
_CELL_QUANTILE = 0.1  # of the L2 offsets in a cell: the part that its centroid takes
_UNUSED_DISTANCE = 4.0  # keeps vectors that FAISS encodes from the offset byte's centroids


def export_faiss(
    index: Any, path: str | os.PathLike[str], *, offsets: bool = True, rows: bool = True
) -> None:
    """Write an index to a file that stock FAISS reads, without importing FAISS.

    Vectors are not encoded again. The codes are stored in an ``IndexPQ``, or in an ``IndexIVFPQ``
    if the codec has cells, behind an ``IndexPreTransform``; explicit ids are stored in an
    ``IndexIDMap2``. ``docs/faiss-export.md`` describes the structure and the loss of recall.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
        The index.
    path : str or path-like
        The write is atomic; an existing file is replaced.
    offsets : bool
        Add a byte to each code that restores most of the lost recall, if it increases recall.
        Pass False for an L2 index to which FAISS will add many vectors: FAISS cannot compute
        offsets, and finds its own vectors too often (``docs/faiss-export.md``).
    rows : bool
        Also write the rows of `refine`, in an ``IndexRefine``: float32 rows unchanged, float16 and
        int8 rows as float16. FAISS can neither remove vectors from such an index nor search it by
        radius, and its filters are nested one level deeper. Your own array is never written.

    Raises
    ------
    ValueError
        If the plan has a `pq_multiplier`, a score that FAISS cannot compute; if `path` has a null
        character; or if an int8 row has values beyond the range of float16.
    TypeError
        If `index` is not a waterfill index.
    NotTrainedError
        If `index` is not trained.
    OSError
        If the file cannot be written.
    """
    if not isinstance(index, Index):
        raise TypeError(
            f"index must be an IndexFlat or IndexIVF of waterfill, got {type(index).__name__}"
        )
    with index._writing:  # the codes are read more than once
        source = Source(index, rows=rows)
        with atomic_write(path) as file:
            _Export(source, offsets=offsets).write(Writer(file))


def to_faiss(index: Any, *, offsets: bool = True, rows: bool = True) -> Any:
    """Return a stock FAISS index with the same codes, as `export_faiss` writes it.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
        The index.
    offsets, rows : bool
        As `export_faiss`.

    Returns
    -------
    faiss.IndexPreTransform, IndexRefine or IndexIDMap2
        An independent copy; ``docs/faiss-export.md`` describes its structure.

    Raises
    ------
    ImportError
        If FAISS is not installed: ``pip install ".[faiss]"``.
    ValueError, TypeError, NotTrainedError
        As `export_faiss`.
    """
    faiss = require_faiss("to_faiss")
    import tempfile  # slow to import: it loads the compression modules

    # A file needs less memory: deserialize_index would hold all bytes besides the index.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "index.faiss"
        export_faiss(index, path, offsets=offsets, rows=rows)
        return faiss.read_index(str(path))


class Source:
    """The parts of an index that an export reads."""

    def __init__(self, index: Index, *, rows: bool = True) -> None:
        self._core = index._trained()
        codec = self._core.codec
        self.settings = codec.settings
        if self.settings["pq_multiplier"]:
            raise ValueError(
                f"index: expected a plan without pq_multiplier, got "
                f"pq_multiplier={self.settings['pq_multiplier']:g}, whose score FAISS cannot "
                "compute; train with a plan without it"
            )
        self.decoder = Decoder(codec.arrays, self.settings)
        self.d, self.n = index.d, index.ntotal
        self.cosine = index.metric == "cosine"
        self.l2 = index.metric == "l2"
        self.alpha = self.settings["alpha_l2" if self.l2 else "alpha_ip"] / QUARTERS
        # A flat index may scan any of its cells.
        self.nprobe = index.nprobe if isinstance(index, IndexIVF) else self.decoder.cells
        # Only then may centroids change for the sake of vectors that FAISS adds.
        self.all_lists = self.decoder.cells > 0 and not isinstance(index, IndexIVF)
        self.row_type = _ROW_TYPES.get(index.refine) if isinstance(index.refine, str) else None
        if not rows:
            self.row_type = None
        self.k_factor = index.k_factor
        if self.row_type is not None and self.k_factor > _MAX_K_FACTOR:
            raise ValueError(
                f"index: expected a k_factor of at most {_MAX_K_FACTOR}, because FAISS reads no "
                f"file with a larger one, got {self.k_factor:g}; set index.k_factor = "
                f"{_MAX_K_FACTOR}, or pass rows=False to leave the rows out"
            )
        # Inverted lists hold the ids, with two exceptions: an IndexRefine needs positions from the
        # lists to look up its rows, and LlamaIndex expects the IDMap2 of its factory string.
        listed = self.decoder.cells and self.row_type is None and not index._keeps_ids
        self.mapped = index.has_ids and not listed
        self.positional = not index.has_ids and not isinstance(index, IndexIVF)
        self._block = max(1, _BLOCK_BYTES // max(codec.code_size, 8 * self.decoder.groups))

    def codes(self, first: int, n: int) -> Codes:
        """Return the codes of labels first to first + n - 1, in order of insertion."""
        return self._core.codes(first, n)

    def ids(self, first: int, n: int) -> NDArray[np.int64]:
        """Return the ids of labels first to first + n - 1."""
        return self._core.ids(first, n)

    def rows(self) -> Iterator[NDArray[Any]]:
        """Iterate over the refinement rows in blocks."""
        assert self.row_type is not None
        step = max(1, _BLOCK_BYTES // (4 * self.d))
        for first in range(0, self.n, step):
            with np.errstate(over="ignore"):
                block = self._core.refine_rows(first, min(step, self.n - first)).astype(
                    self.row_type
                )
            if not np.isfinite(block).all():
                raise ValueError(
                    "index: expected int8 refinement rows within the range of float16, got values "
                    "beyond 65504; pass rows=False to leave the rows out"
                )
            yield block

    def blocks(self) -> Iterator[tuple[int, Codes]]:
        """Iterate over all codes in blocks: first label, codes."""
        for first in range(0, self.n, self._block):
            yield first, self.codes(first, min(self._block, self.n - first))


class _Export:
    """One export: measure the score correction, then write the file."""

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
        self._count_and_correct()
        self._cell_offsets = self._take_cell_offsets()
        least, most = self._offsets.min(initial=0), self._offsets.max(initial=0)
        added = self.correction.added
        self.levels = Levels(float(least), float(most), l2=source.l2, added=added)
        self.space = self._build()

    @property
    def code_size(self) -> int:
        return len(self.space.books)

    def _count_and_correct(self) -> None:
        """Count the vectors of each cell, and compute all offsets."""
        source, decoder = self._source, self._source.decoder
        linear = isinstance(self.correction.typical, Line)
        if self.correction.has_offsets:
            self._offsets = np.empty(source.n, dtype=np.float32)
        for first, codes in source.blocks():
            if decoder.cells:
                self._sizes += np.bincount(decoder.cell_numbers(codes), minlength=decoder.cells)
            if self.correction.has_offsets:
                stats = CodeStats.of(decoder, codes, source.alpha, with_origin=linear)
                offsets = self.correction.offsets(stats, l2=source.l2)
                self._offsets[first : first + len(codes)] = offsets

    def _take_cell_offsets(self) -> Doubles | None:
        """Move the part of the L2 offsets that a cell has in common to its centroid.

        FAISS gives the vectors that it encodes itself no offset, but they get that of the cell.
        """
        source = self._source
        if not (source.l2 and source.all_lists and len(self._offsets)):
            return None
        cells = np.concatenate([source.decoder.cell_numbers(codes) for _, codes in source.blocks()])
        order = np.argsort(cells, kind="stable")
        parts = np.split(self._offsets[order], np.cumsum(self._sizes)[:-1])
        common = [np.quantile(part, _CELL_QUANTILE) for part in parts if len(part)]
        typical = float(np.median(common))  # for cells without vectors
        offsets: Doubles = np.full(len(self._sizes), typical)
        offsets[self._sizes > 0] = common
        self._offsets = np.maximum(self._offsets - offsets[cells], 0).astype(np.float32)
        return offsets

    def _build(self) -> Space:
        correction, l2 = self.correction, self._source.l2
        has_offsets = correction.has_offsets
        space = build_space(
            self._source.decoder,
            scale=correction.scale,
            l2=l2,
            extra=has_offsets,
            cell_offsets=self._cell_offsets,
        )
        if has_offsets:
            values = space.books[-1, :, 0] = self.levels.coordinates
            if not l2:  # away from any vector that FAISS encodes; queries are 0 in this slot
                space.books[-1, 1:, 1] = _UNUSED_DISTANCE * (1 + np.abs(values).max())
        return space

    def _stored(self, first: int, codes: Codes) -> Codes:
        """Return the bytes that FAISS stores for codes."""
        groups = codes[:, : self._source.decoder.groups]
        if not self.correction.has_offsets:
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
            # Refinement rows need normalized queries, so normalization comes before IndexRefine.
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
        writer.pack("i", 1 + normalize)
        if normalize:
            writer.normalization(source.d)
        writer.linear(space.matrix, space.bias)
        if source.decoder.cells:
            self._write_lists(writer)
        else:
            self._write_flat(writer)

    def _write_flat(self, writer: Writer) -> None:
        source = self._source
        writer.header("IxPq", len(self.space.bias), source.n, self._metric)
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
        width = len(space.bias)
        writer.header("IwPQ", width, source.n, self._metric)
        writer.pack("QQ", len(space.origins), min(source.nprobe, len(space.origins)))
        if source.l2 or not source.all_lists:
            # By inner products if that is the metric: if norms vary, the lists that are nearest by
            # L2 contain few of the neighbours.
            writer.flat(space.origins, self._metric)
        else:
            # All lists are scanned, so the quantizer only assigns the vectors that FAISS adds, best
            # by L2. The wrapper's metric keeps FAISS from precomputing tables that L2 alone needs.
            writer.header("IxPT", width, len(space.origins), self._metric)
            writer.pack("i", 1)
            writer.linear(space.matrix.T, np.zeros(source.d))
            writer.flat(source.decoder.origins.astype(np.float32), L2)
        self._write_direct_map(writer)
        writer.pack("BQ", 1, self.code_size)  # by residual
        writer.product_quantizer(space.books)
        writer.list_sizes(self._sizes, self.code_size)
        self._scatter(writer)

    def _list_positions(self) -> Iterator[tuple[int, Codes, NDArray[np.int64], NDArray[np.int64]]]:
        """Iterate over all codes in blocks: first label, codes, cells, positions in the lists."""
        filled = np.zeros(len(self._sizes), dtype=np.int64)
        for first, codes in self._source.blocks():
            cells = self._source.decoder.cell_numbers(codes)
            order = np.argsort(cells, kind="stable")
            numbers, starts, counts = np.unique(cells[order], return_index=True, return_counts=True)
            ranks = np.empty(len(cells), dtype=np.int64)
            ranks[order] = np.arange(len(cells)) + np.repeat(filled[numbers] - starts, counts)
            filled[numbers] += counts
            yield first, codes, cells, ranks

    def _write_direct_map(self, writer: Writer) -> None:
        """Write the direct map: if labels are positions, the list and position in it of each.

        It enables `reconstruct`, and makes FAISS refuse `remove_ids` on the lists. Without it FAISS
        would remove, but keep the labels of the others: an IDMap2, or a program that counts on
        labels that move up as in an IndexFlat, would get wrong vectors from then on.
        """
        if not (self._source.mapped or self._source.positional):
            writer.pack("BQ", 0, 0)
            return
        writer.pack("BQ", 1, self._source.n)
        for _, _, cells, ranks in self._list_positions():
            writer.file.write((cells << 32 | ranks).astype("<i8").data)

    def _scatter(self, writer: Writer) -> None:
        """Write each code and id to the place of its list in the file."""
        source, size = self._source, self.code_size
        if source.n == 0:
            return
        start = writer.file.tell()
        writer.file.truncate(start + source.n * (size + 8))
        writer.file.flush()
        buffer = np.memmap(writer.file, np.uint8, "r+", start, (source.n * (size + 8),))
        code_starts = np.cumsum([0, *self._sizes[:-1]]) * (size + 8)
        id_starts = code_starts + self._sizes * size
        for first, codes, cells, ranks in self._list_positions():
            labels = np.arange(first, first + len(codes))
            ids = labels if source.mapped else source.ids(first, len(codes))
            _put(buffer, code_starts[cells] + ranks * size, self._stored(first, codes))
            id_bytes = ids.astype("<i8").view(np.uint8).reshape(-1, 8)
            _put(buffer, id_starts[cells] + ranks * 8, id_bytes)
        buffer.flush()
        writer.file.seek(0, os.SEEK_END)


def _put(buffer: NDArray[np.uint8], starts: NDArray[np.int64], rows: Codes) -> None:
    buffer[starts[:, None] + np.arange(rows.shape[1])] = rows
