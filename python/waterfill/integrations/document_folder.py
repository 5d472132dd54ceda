"""A folder with documents and their vectors: what is open of it, and how it goes on.

The folder has two parts: a file of SQLite with the documents (`document_table`), and an index in a
folder of its own with their vectors (`waterfill.open_index`), made when the first vector comes.
`document_index` changes and searches both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import weakref
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from waterfill import _core
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill._util.system import sync_directory
from waterfill._util.validation import Metric, as_positive_int, metric_name
from waterfill.codec import Codec
from waterfill.folder.directory import WriterLock
from waterfill.folder.index import FolderIndexFlat, FolderIndexIVF
from waterfill.index.list_recall import as_target_recall
from waterfill.integrations.document_table import DocumentTable
from waterfill.managed.opening import open_index
from waterfill.managed.settings import KeepRows

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

VECTORS = "vectors.wfx"

_KEEP_ROWS = ("float16", "int8", "none")
_SHARE = 0.5  # of a core, for maintenance

_opening = threading.Lock()
_opened: weakref.WeakValueDictionary[tuple[int, str, str], DocumentFolder] = (
    weakref.WeakValueDictionary()
)


class FolderOptions(TypedDict, total=False):
    """Options of the folder of a store, the same for LangChain, LlamaIndex and Haystack.

    Each may be left out; an existing folder goes on as it was made.

    Attributes
    ----------
    metric : {'ip', 'l2', 'cosine'}
        Of a new folder. The store says which one it takes by default.
    target_recall : float
        The recall@10 that codes must reach, in the fewest bytes; 0.9 by default. It can be changed
        later.
    code_bytes : int
        Bytes of a code, without the one for the scale, instead of a recall.
    keep_rows : {'float16', 'int8', 'none'}
        Rows on the disk that re-rank the best candidates, so that scores are exact, and that
        vectors are given back from; ``float16`` by default. Without them scores are estimates.
    codec : Codec
        Encodes vectors from the first one on. Nothing is trained, then, nor maintained.
    background : float or 'off'
        The share of the time of one core, 0.5 by default, that a thread takes to train and to
        maintain the index. ``off``: call ``index.maintain()``.
    new_model : bool
        Take vectors that another embedding model seems to have made. By default they are refused:
        their distances from those that are stored mean nothing.
    """

    metric: Metric | int | None
    target_recall: float | None
    code_bytes: int | None
    keep_rows: KeepRows | None
    codec: Codec | None
    background: float | Literal["off"]
    new_model: bool


class DocumentFolder:
    """What is open of a folder with documents.

    Parameters
    ----------
    path : str or path-like, optional
        The folder. Without one it is a temporary folder, which goes when the object does.
    mode : {'a', 'r'}
        Change, and make the folder if there is none; or read.
    new_metric : {'ip', 'l2', 'cosine'}
        The metric of a new folder, if `options` have none.
    **options : FolderOptions
        How the folder is made and kept.

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
        new_metric: Metric = "cosine",
        **options: Unpack[FolderOptions],
    ) -> None:
        if mode not in ("a", "r"):
            raise ValueError(f"mode={mode!r} must be 'a' or 'r'")
        if path is None and mode == "r":
            raise ValueError("path: expected a folder to read, got None")
        codec = options.get("codec")
        if codec is not None and not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        given = _as_settings(options)
        self._background = options.get("background", _SHARE)
        self._new_model = bool(options.get("new_model", False))
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
            self._open(path, given, new_metric, codec)
        except BaseException:
            self._finalizer()
            raise

    def _open(self, path: Any, given: dict[str, Any], new_metric: str, codec: Codec | None) -> None:
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
        self._settings = self._table.settings() or self._new_settings(given, new_metric)
        self._require_same(given)
        if self._settings["d"] is not None:
            self._open_index(codec, given)
        elif self._mode == "a":
            shutil.rmtree(self._vectors, ignore_errors=True)  # of a first change that has failed
            self._change_settings({name: given[name] for name in _asked(given)})
            if codec is not None:
                self._change_settings(self._make_index(codec.d, codec))
        if self._mode == "a":
            self._remove_orphans()
            self._next = self._table.next_number()

    @classmethod
    def shared(
        cls,
        path: str | os.PathLike[str] | None,
        mode: Literal["a", "r"] = "a",
        **options: Unpack[FolderOptions],
    ) -> Self:
        """Return the object of this process that has the folder open, or open it.

        For hosts that make several objects from one description. Arguments are those of the class.
        """
        if path is None:
            return cls(path, mode, **options)
        key = (os.getpid(), os.path.realpath(path), mode)
        with _opening:
            known = _opened.get(key)
            if known is None or not known._finalizer.alive:
                known = cls(path, mode, **options)
                _opened[key] = known
            else:
                given = _as_settings(options)
                known._require_same(given, _asked(given))
        assert isinstance(known, cls)
        return known

    def _require_same(self, given: dict[str, Any], more: tuple[str, ...] = ()) -> None:
        """Raise ValueError if arguments contradict the folder."""
        for name in ("metric", "keep_rows", *more):
            if given[name] is not None and given[name] != self._settings[name]:
                raise ValueError(
                    f"{name}: expected {self._settings[name]!r}, as the folder has, got "
                    f"{given[name]!r}; leave it out, or make another folder"
                )

    def _new_settings(self, given: dict[str, Any], new_metric: str) -> dict[str, Any]:
        if self._mode == "r":
            raise FileNotFoundError(2, "no documents in this folder yet", self._path)
        settings = {
            **given,
            "metric": given["metric"] or new_metric,
            "keep_rows": given["keep_rows"] or "float16",
            "d": None,
            "generation": 0,
        }
        self._table.change_settings(settings)
        return settings

    def _change_settings(self, settings: dict[str, Any]) -> None:
        if any(self._settings[name] != value for name, value in settings.items()):
            self._table.change_settings(settings)
            self._settings = self._settings | settings

    # The index.

    @property
    def _vectors(self) -> str:
        return os.path.join(self._path, VECTORS)

    def _make_index(self, d: int, codec: Codec | None = None) -> dict[str, Any]:
        """Make the index; return the settings by which it belongs to the documents."""
        settings, options = self._settings, dict[str, Any]()
        if codec is None:
            options = {name: settings[name] for name in ("keep_rows", *_ASKED)} | {"d": d}
        elif settings["keep_rows"] != "none":
            options = {"refine": settings["keep_rows"]}
        shutil.rmtree(self._vectors, ignore_errors=True)
        self._use(
            open_index(
                self._vectors,
                "a",
                codec=codec,
                metric=self.metric,
                background=self._background,
                **options,
            )
        )
        return {"d": d, "generation": settings["generation"] + 1}

    def _open_index(self, codec: Codec | None = None, given: dict[str, Any] | None = None) -> None:
        asked = {name: given[name] for name in _asked(given)} if given else {}
        options: dict[str, Any] = {n: value for n, value in asked.items() if value is not None}
        if codec is not None:
            options["codec"] = codec
        self._use(open_index(self._vectors, self._mode, background=self._background, **options))
        if self._mode == "a":
            self._change_settings(asked)

    def _use(self, index: FolderIndexFlat | FolderIndexIVF) -> None:
        self._resources.callback(index.close)
        self._index = index

    def _drop_index(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            index.close()
        shutil.rmtree(self._vectors, ignore_errors=True)

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
        """The index with the vectors; None before the first one.

        That of a reader is up to date each time it is asked for. Its settings, `health`, `history`,
        `maintain` and `compact` are for use; vectors are changed by the documents' own methods
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
                if not same or self._settings["d"] is None:
                    self._index = None  # closed with the others: a search may be running
                try:
                    if self._index is not None:
                        self._index.refresh()
                    elif self._settings["d"] is not None:
                        self._open_index()
                    return
                except FileNotFoundError:  # the writer has begun anew in between
                    if last:
                        raise

    def held(self) -> threading.RLock:
        """Return the lock of changes: while it is held, no other thread makes any."""
        return self._changing

    def _require_changeable(self) -> DocumentTable:
        table = self.table
        if self._mode == "r":
            raise ValueError("the documents are open with mode='r'; open them with mode='a'")
        return table

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


_ASKED = ("target_recall", "code_bytes")  # of which an index has one


def _asked(given: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of what an index is asked for, if it is given."""
    return _ASKED if any(given[name] is not None for name in _ASKED) else ()


def _as_settings(options: FolderOptions) -> dict[str, Any]:
    """Return the options that are kept in the folder, checked."""
    known = FolderOptions.__optional_keys__
    for name in options:
        if name not in known:
            raise TypeError(f"{name}: expected one of {', '.join(sorted(known))}")
    metric, keep_rows = options.get("metric"), options.get("keep_rows")
    target, code_bytes = options.get("target_recall"), options.get("code_bytes")
    if keep_rows is not None and keep_rows not in _KEEP_ROWS:
        raise ValueError(f"keep_rows={keep_rows!r} must be one of {', '.join(_KEEP_ROWS)}")
    if target is not None and code_bytes is not None:
        raise ValueError("target_recall, code_bytes: expected one of them, got both")
    if options.get("codec") is not None and (target is not None or code_bytes is not None):
        raise ValueError("target_recall, code_bytes: the codec decides; leave them out")
    return {
        "metric": None if metric is None else metric_name(metric),
        "keep_rows": keep_rows,
        "target_recall": None if target is None else as_target_recall(target),
        "code_bytes": None if code_bytes is None else as_positive_int("code_bytes", code_bytes),
    }
