"""txtai: an index of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from waterfill._util.optional import required
from waterfill.index.flat import IndexFlat
from waterfill.index.vector_index import Labels
from waterfill.integrations.code_bytes import code_bytes_for
from waterfill.io import read_index, write_index
from waterfill.recipe import Recipe

with required("txtai", "waterfill.integrations.txtai", "txtai"):
    from txtai.ann import ANN

__all__ = ["Waterfill"]

_ENOUGH = 10_000  # rows of training, beyond which more change little
_GROWTH = 2  # after which a codec of fewer rows is trained again


class Waterfill(ANN):
    """An index for ``Embeddings(backend="waterfill.integrations.txtai.Waterfill")``.

    Scores are inner products, exact unless `refine` is None; txtai gives vectors of norm 1, so they
    are cosines. A codec that was trained on few rows is trained again as the index grows.

    Parameters
    ----------
    config : dict
        The configuration of the embeddings. Under the name of the backend it has the settings that
        follow.

    Other Parameters
    ----------------
    code_bytes : int, optional
        Bytes of a code, without the one for the scale: by default a bit per dimension, at least 8.
    refine : {'float16', 'int8', 'float32', None}
        Rows in memory that re-rank the best candidates; ``float16`` by default.
    mmap : bool
        Whether a saved index is used where it lies in its file, which cannot be changed then;
        False by default.

    Raises
    ------
    ValueError
        If the configuration has `quantize`, a setting of other backends.
    """

    backend: Any

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        if config.get("quantize"):
            raise ValueError(
                f"quantize: expected none, got {config['quantize']!r}; code_bytes is the setting "
                "of this backend"
            )

    def load(self, path: str) -> None:
        """Read the index from a file.

        Parameters
        ----------
        path : str
            A file of `save`.

        Raises
        ------
        FormatError, OSError
            As `waterfill.read_index`.
        """
        self.backend = read_index(path, mmap=bool(self.setting("mmap", False)))

    def save(self, path: str) -> None:
        """Write the index to a file.

        Parameters
        ----------
        path : str
            An existing file is replaced.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        write_index(self.backend, path)

    def index(self, embeddings: Any) -> None:
        """Train a codec on rows, and index them under the ids from 0 on.

        Parameters
        ----------
        embeddings : float32 (n, d)
            The rows.
        """
        self.backend = self._trained_on(embeddings)
        self.backend.add_with_ids(embeddings, np.arange(len(embeddings)))
        self.config["offset"] = len(embeddings)
        self.metadata({"code_bytes": self.backend.codec.code_size})

    def append(self, embeddings: Any) -> None:
        """Add rows under the ids that follow.

        Parameters
        ----------
        embeddings : float32 (n, d)
            The rows.
        """
        first = self.config["offset"]
        self.backend.add_with_ids(embeddings, np.arange(first, first + len(embeddings)))
        self.config["offset"] += len(embeddings)
        self._train_again_if_due()
        self.metadata()

    def delete(self, ids: Any) -> None:
        """Remove rows; ids that there are not are passed over.

        Parameters
        ----------
        ids : list of int
            The ids.
        """
        self.backend.remove_ids(np.array(ids, np.int64))

    def search(self, queries: Any, limit: int) -> list[list[tuple[int, float]]]:
        """Return the ids and scores of the nearest rows of each query.

        Parameters
        ----------
        queries : float32 (n, d)
            The queries.
        limit : int
            Most rows per query.

        Returns
        -------
        list of list of (int, float)
            For each query ids and scores, the best first.
        """
        scores, ids = self.backend.search(queries, limit)
        found = ids >= 0
        return [
            list(zip(ids[i][found[i]].tolist(), scores[i][found[i]].tolist(), strict=True))
            for i in range(len(ids))
        ]

    def count(self) -> int:
        """Return the number of rows."""
        return int(self.backend.ntotal)

    def _trained_on(self, rows: Any) -> IndexFlat:
        d = rows.shape[1]
        codec = Recipe(d, code_bytes_for(d, self.setting("code_bytes"))).train(rows, "ip")
        return IndexFlat(codec, "ip", refine=self.setting("refine", "float16"))

    def _train_again_if_due(self) -> None:
        old = self.backend
        trained = old.codec.manifest.rows
        if trained >= _ENOUGH or old.ntotal < _GROWTH * trained or not isinstance(old.refine, str):
            return
        ids: Labels = old.ids()
        rows = old.reconstruct_batch(ids)
        self.backend = self._trained_on(rows)
        self.backend.add_with_ids(rows, ids)
