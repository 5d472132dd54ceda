"""A folder with documents and their vectors: what is open of it, and how it goes on.

The folder has two parts: a file of SQLite with the documents (`document_table`), and an index in a
folder of its own with their vectors (`waterfill.open_index`). Until there are vectors enough to
train a codec, they lie in the table. `document_index` changes and searches both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from waterfill import _core
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill._util.system import sync_directory
from waterfill._util.validation import Metric, as_positive_int, metric_name
from waterfill.codec import Codec
from waterfill.folder.directory import WriterLock
from waterfill.folder.index import FolderIndexFlat, FolderIndexIVF
from waterfill.folder.opening import open_index
from waterfill.index.trainable import check_refine
from waterfill.integrations.code_bytes import code_bytes_for
from waterfill.integrations.document_table import DocumentTable
from waterfill.recipe import Recipe

if TYPE_CHECKING:
    from typing_extensions import Self

VECTORS = "vectors.wfx"
TRAIN_SIZE = 10_000


_opening = threading.Lock()
_opened: weakref.WeakValueDictionary[tuple[int, str, str], DocumentFolder] = (
    weakref.WeakValueDictionary()
)


class DocumentFolder:
    """What is open of a folder with documents.

    Parameters
    ----------
    path : str or path-like, optional
        The folder. Without one it is a temporary folder, which goes when the object does.
    mode : {'a', 'r'}
        Change, and make the folder if there is none; or read.
    metric : {'ip', 'l2', 'cosine'}, optional
        As for `waterfill.IndexFlat`; of a new folder `new_metric` by default.
    new_metric : {'ip', 'l2', 'cosine'}
    codec : Codec, optional
        Encodes vectors from the first one on. Otherwise a codec is trained once there are
        `train_size` vectors.
    code_bytes : int, optional
        Bytes of a code of the codec that is trained: by default a bit per dimension, at least 8
        bytes.
    train_size : int, optional
        By default 10,000.
    refine : {'float16', 'int8', 'float32', None}
        Rows on the disk that re-rank the best candidates, so that scores are exact, and that
        vectors are given back from.

    Raises
    ------
    FileNotFoundError
        If there is no such folder to read.
    BlockingIOError
        If another process has the folder open for changes.
    FormatError
        If a file is damaged.
    ValueError, TypeError
        If an argument is invalid, or contradicts the folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        mode: Literal["a", "r"] = "a",
        *,
        metric: Metric | int | None = None,
        new_metric: Metric = "cosine",
        codec: Codec | None = None,
        code_bytes: int | None = None,
        train_size: int | None = None,
        refine: str | None = "float16",
    ) -> None:
        if mode not in ("a", "r"):
            raise ValueError(f"mode={mode!r} must be 'a' or 'r'")
        if path is None and mode == "r":
            raise ValueError("path: expected a folder to read, got None")
        if codec is not None and not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        given = _as_settings(metric, code_bytes, train_size)
        if not isinstance(refine, str | None):
            raise TypeError(f"refine must be a str or None, got {type(refine).__name__}")
        check_refine(refine)
        self._pid = os.getpid()
        self._mode = mode
        self._changing: threading.RLock = fork_safe_lock(self, "_changing", threading.RLock)
        self._index: FolderIndexFlat | FolderIndexIVF | None = None
        resources = contextlib.ExitStack()
        self._resources = resources
        # Not at the end of a forked child: all of it belongs to the parent.
        pid = self._pid
        self._finalizer = weakref.finalize(
            self, lambda: resources.close() if os.getpid() == pid else None
        )
        try:
            self._open(path, given, new_metric, codec, refine)
        except BaseException:
            self._finalizer()
            raise

    def _open(
        self, path: Any, given: dict[str, Any], new_metric: str, codec: Codec | None, refine: Any
    ) -> None:
        if path is None:
            path = tempfile.mkdtemp(prefix="waterfill-")
            self._resources.callback(shutil.rmtree, path, ignore_errors=True)
        self._path = os.path.abspath(os.fsdecode(os.fspath(path)))
        if os.path.exists(os.path.join(self._path, "MANIFEST")):
            raise ValueError(
                f"path: expected a folder of documents or a new one, got an index in a folder, "
                f"{self._path!r}; open_index opens it"
            )
        if self._mode == "a":
            os.makedirs(self._path, exist_ok=True)
            lock = WriterLock(self._path)
            self._resources.callback(lock.release)
        self._table = DocumentTable(self._path, self._mode == "a")
        self._resources.callback(self._table.close)
        settings = self._table.settings()
        if not settings:
            settings = self._new_settings(
                {**given, "metric": given["metric"] or new_metric, "refine": refine}
            )
        self._settings = settings
        self._require_same(given)
        if settings["trained"]:
            self._open_index(codec)
        elif codec is not None:
            self.train(codec)
        if self._mode == "a":
            self._remove_orphans()
            self._next = self._table.next_number()

    @classmethod
    def shared(
        cls,
        path: str | os.PathLike[str] | None,
        mode: Literal["a", "r"] = "a",
        *,
        metric: Metric | int | None = None,
        code_bytes: int | None = None,
        train_size: int | None = None,
        **options: Any,
    ) -> Self:
        """Return the object of this process that has the folder open, or open it.

        For hosts that make several objects from one description. Arguments are those of the class.
        """
        given = {"metric": metric, "code_bytes": code_bytes, "train_size": train_size}
        if path is None:
            return cls(path, mode, **given, **options)  # type: ignore[arg-type]
        key = (os.getpid(), os.path.realpath(path), mode)
        with _opening:
            known = _opened.get(key)
            if known is None or not known._finalizer.alive:
                known = cls(path, mode, **given, **options)  # type: ignore[arg-type]
                _opened[key] = known
            else:
                known._require_same(_as_settings(metric, code_bytes, train_size))
        assert isinstance(known, cls)
        return known

    def _require_same(self, given: dict[str, Any]) -> None:
        """Raise ValueError if arguments contradict the folder."""
        for name, value in given.items():
            if value is not None and value != self._settings[name]:
                raise ValueError(
                    f"{name}: expected {self._settings[name]!r}, as the folder has, got {value!r}; "
                    "leave it out, or make another folder"
                )

    def _new_settings(self, given: dict[str, Any]) -> dict[str, Any]:
        if self._mode == "r":
            raise FileNotFoundError(2, "no documents in this folder yet", self._path)
        settings = {**given, "train_size": given["train_size"] or TRAIN_SIZE}
        settings |= {"d": None, "trained": False, "generation": 0}
        self._table.change_settings(settings)
        return settings

    def _open_index(self, codec: Codec | None = None) -> None:
        index = open_index(os.path.join(self._path, VECTORS), self._mode, codec=codec)
        self._resources.callback(index.close)
        self._index = index

    def _remove_orphans(self) -> None:
        """Remove the vectors that a crash has left without documents."""
        index = self._index
        if index is None or index.ntotal == self._table.count_embedded():
            return
        numbers, ids = self._table.embedded_numbers(), index.ids()
        if len(np.setdiff1d(numbers, ids)):
            raise _core.FormatError(f"{self._path}: damaged: documents without their vectors")
        index.remove_ids(np.setdiff1d(ids, numbers))

    def close(self) -> None:
        """Close the folder, and give it to other writers."""
        with self._changing:
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.table.count()

    # What it is.

    @property
    def path(self) -> str:
        """The folder."""
        return self._path

    @property
    def metric(self) -> Metric:
        """The metric: ``ip``, ``l2`` or ``cosine``."""
        return metric_name(self._settings["metric"])

    @property
    def d(self) -> int | None:
        """Dimensions of the vectors; None before the first one."""
        self._follow()
        d = self._settings["d"]
        return None if d is None else int(d)

    @property
    def table(self) -> DocumentTable:
        """The documents."""
        if not self._finalizer.alive:
            raise ValueError(f"the documents in {self._path!r} are closed; open them again")
        if os.getpid() != self._pid:
            raise ValueError(
                f"the documents in {self._path!r} were opened before a fork; open them in the child"
            )
        return self._table

    @property
    def index(self) -> FolderIndexFlat | FolderIndexIVF | None:
        """The index with the vectors; None before it is trained.

        That of a reader is up to date each time it is asked for. Its settings, `compact`,
        `change_codec` and `recode` are for use; vectors are changed by the documents' own methods
        only.
        """
        self._follow()
        return self._index

    def _follow(self) -> None:
        """Of a reader: take in what the writer has done."""
        table = self.table
        if self._mode != "r":
            return
        with self._changing:
            for last in (False, True):
                self._settings, before = table.settings(), self._settings
                same = self._settings["generation"] == before["generation"]
                if not same or not self._settings["trained"]:
                    self._index = None  # closed with the others: a search may be running
                try:
                    if self._index is not None:
                        self._index.refresh()
                    elif self._settings["trained"]:
                        self._open_index()
                    return
                except FileNotFoundError:  # the writer has begun anew in between
                    if last:
                        raise

    def held(self) -> threading.RLock:
        """Return the lock of changes: while it is held, no other thread makes any."""
        return self._changing

    def _require_changeable(self) -> None:
        if self._mode == "r":
            raise ValueError("the documents are open with mode='r'; open them with mode='a'")

    # Training.

    def train(self, codec: Codec | None = None) -> None:
        """Move the vectors to an index, and train its codec on them unless it is given.

        Happens by itself once there are `train_size` vectors. Searches go on meanwhile.

        Raises
        ------
        ValueError
            If there are no vectors to train on, or there is an index already.
        """
        with self._changing:
            table = self.table
            self._require_changeable()
            if self._index is not None:
                raise ValueError("train: there is an index already; index.change_codec changes it")
            numbers, rows = table.kept_vectors()
            settings = self._settings
            if codec is None:
                if not len(rows):
                    raise ValueError("train: expected vectors to train on, got none; add documents")
                d = rows.shape[1]
                code_bytes = code_bytes_for(d, settings["code_bytes"])
                codec = Recipe(d, code_bytes).train(rows, self.metric)
            elif len(rows) and codec.d != rows.shape[1]:
                raise ValueError(f"codec: expected {rows.shape[1]} dimensions, got {codec.d}")
            path = os.path.join(self._path, VECTORS)
            with contextlib.ExitStack() as undo:
                index = open_index(
                    path, "w", codec=codec, metric=self.metric, refine=settings["refine"]
                )
                undo.callback(index.close)
                if len(rows):
                    index.add_with_ids(rows, numbers)
                    index.flush()
                done = {
                    "trained": True,
                    "d": codec.d,
                    "generation": settings["generation"] + 1,
                }
                table.change_settings(done, drop_vectors=True)
                undo.pop_all()
            self._settings = settings | done
            self._resources.callback(index.close)
            self._index = index

    def _train_if_due(self) -> None:
        """Train once there are vectors enough. An error is a warning: the documents are kept."""
        if self._index is not None:
            return
        size = self._settings["train_size"]
        if self._table.count_embedded() < size:
            return
        try:
            self.train()
        except (ValueError, OSError, MemoryError) as error:
            warnings.warn(
                f"{self._path}: no codec is trained, and searches stay exact: {error}",
                RuntimeWarning,
                stacklevel=3,
            )

    # Copies.

    def copy_to(self, path: str | os.PathLike[str]) -> None:
        """Make another folder with the present state.

        Raises
        ------
        FileExistsError
            If `path` exists.
        OSError
            If it cannot be written.
        """
        target = os.path.abspath(os.fsdecode(os.fspath(path)))
        if os.path.lexists(target):
            raise FileExistsError(17, "expected a path that does not exist", target)
        parent, base = os.path.split(target)
        os.makedirs(parent, exist_ok=True)
        with self._changing:
            table = self.table
            temporary = tempfile.mkdtemp(prefix=f".{base}.", suffix=".tmp", dir=parent)
            try:
                table.copy_to(temporary)
                if self.index is not None:
                    self.index.snapshot(os.path.join(temporary, VECTORS))
                os.chmod(temporary, os.stat(self._path).st_mode & 0o777)
                sync_directory(temporary)
                os.rename(temporary, target)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_directory(parent)


def _as_settings(metric: Any, code_bytes: Any, train_size: Any) -> dict[str, Any]:
    return {
        "metric": None if metric is None else metric_name(metric),
        "code_bytes": None if code_bytes is None else as_positive_int("code_bytes", code_bytes),
        "train_size": None if train_size is None else as_positive_int("train_size", train_size),
    }
