"""`open_index`: an index in a folder, with a codec of the user's or one that it trains itself."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Literal

from waterfill._util.validation import Metric, as_number, as_positive_int, metric_name
from waterfill.codec import Codec
from waterfill.folder import opening
from waterfill.folder.directory import MANIFEST
from waterfill.folder.index import FolderIndexFlat, FolderIndexIVF
from waterfill.folder.write_ahead_log import Sync
from waterfill.io import Path
from waterfill.managed.settings import (
    FIRST_ROWS,
    MANAGED,
    KeepRows,
    OnDrift,
    Settings,
    State,
)

if TYPE_CHECKING:
    from waterfill.managed.index import ManagedIndex

_FLUSH_BYTES = 64 << 20
_SHARE = 0.5
_WIDE = (2.0**-20, 2.0**20)  # norms that the first codec takes; its codes rank nothing


def open_index(
    path: Path,
    mode: Literal["r", "a", "w"] = "r",
    *,
    codec: Codec | None = None,
    d: int | None = None,
    metric: Metric | int | None = None,
    target_recall: float | None = None,
    code_bytes: int | None = None,
    keep_rows: KeepRows | None = None,
    on_drift: OnDrift | None = None,
    truncate: bool | None = None,
    background: float | Literal["off"] = _SHARE,
    nprobe: int | None = None,
    refine: str | None = None,
    k_factor: float | None = None,
    sync: Sync = "commit",
    verify: Literal["header", "full"] = "header",
    flush_bytes: int = _FLUSH_BYTES,
    compaction: Literal["background", "off"] = "background",
) -> FolderIndexFlat | FolderIndexIVF:
    """Open an index that lives in a folder: durable, shared by processes, changed in place.

    With `d` instead of a codec, the folder is *managed*: it starts empty, answers exactly until
    there are enough vectors to learn from, trains its codec in the background, follows its size and
    watches its recall. See `waterfill.managed.ManagedIndex`.

    It has the methods of an `IndexFlat`, or with lists of an `IndexIVF`, and `upsert`, `flush`,
    `compact`, `snapshot`, `refresh` and `close`; use it in a ``with`` statement. Vectors always
    have ids: those of `add` are numbered on. Opening maps the files, so it takes milliseconds.

    One process may have the folder open for changes; any number may read it, also meanwhile. A
    reader sees the state at the time when it opened the folder, or of its last `refresh`.

    Parameters
    ----------
    path : str or path-like
        The folder, by convention with the suffix ``.wfx``. Not on a network file system whose
        locks do not hold between machines, if several of them write.
    mode : {'r', 'a', 'w'}
        Read; change, and make the folder if there is none; make it anew, without vectors.
    codec : Codec, optional
        Needed to make a folder that is not managed. For an existing one, it must be its codec.
    d : int, optional
        Number of dimensions: makes a managed folder. For an existing one, it must be its number.
    metric : {'ip', 'l2', 'cosine'} or int, optional
        As for `IndexFlat`; of a new folder ``ip`` by default. For an existing one, it must be its
        metric.
    target_recall : float, optional
        Managed: the recall@10 to keep, with the fewest bytes; 0.9 by default. Otherwise, instead of
        `nprobe`: the share of the neighbours in all lists to find, as for `IndexIVF`; `nprobe` then
        follows the folder's growth. For an existing folder, it replaces what is stored.
    code_bytes : int, optional
        Managed, instead of `target_recall`: bytes of a code, without the byte of its scale.
    keep_rows : {'float16', 'int8', 'none'}, optional
        Managed: rows on the disk, ``float16`` by default. Searches rank the last candidates by
        them, and vectors are encoded anew from them. Memory holds only what searches read of them.
        ``none``: only until the first codec is trained, and then a random sample of at most 32,768
        of the vectors in the index (reservoir sampling [1]_, and random pairing [4]_ after
        removals); vectors keep the codes that they got first.
    on_drift : {'retrain', 'warn'}, optional
        Managed: what to do when the measured recall falls below the target: ``retrain`` by default.
    truncate : bool, optional
        Managed: take vectors and queries of more than `d` dimensions, of which the first `d` count,
        as for embeddings trained that way (Matryoshka representation learning [2]_).
    background : float or 'off'
        Managed: the share of one core, above 0 and at most 1, that a thread takes to maintain the
        index. ``off``: call `maintain`.
    nprobe : int, optional
        Lists to search per query: makes an inverted file of a new folder, whose codec must have
        cells. Of an existing one, it replaces the stored value, which `flush` writes.
    refine : {'float16', 'int8', 'float32'}, optional
        Rows to keep in a new folder that is not managed, for re-ranking.
    k_factor : float, optional
        As for `IndexFlat`; of a new folder 4 by default.
    sync : {'commit', 'interval', 'none'}
        When a change is on the disk, so that it survives a crash of the machine: when the call
        returns, within a second, or when the system writes it. A crash of the process alone loses
        nothing that was acknowledged.
    verify : {'header', 'full'}
        ``full`` reads and verifies all files; ``header`` the headers and small sections.
    flush_bytes : int
        Size of the write-ahead log from which it is flushed to a segment.
    compaction : {'background', 'off'}
        Whether a thread merges small segments, as of a log-structured merge-tree [3]_, and those
        with many removed vectors, after a flush. In a managed folder maintenance does.

    Returns
    -------
    FolderIndexFlat, FolderIndexIVF or ManagedIndex
        The open index; close it, or use it in a ``with`` statement.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, and it cannot be made because `codec` and `d` are missing or
        `mode` is ``r``.
    BlockingIOError
        If another process, or another index of this one, has the folder open for changes.
    FormatError
        If a file of the folder is damaged, or has a later format version.
    ValueError, TypeError
        If an argument is invalid, or contradicts the folder.
    OSError
        If a file cannot be read or written.

    References
    ----------
    .. [1] J. S. Vitter, "Random sampling with a reservoir", ACM Transactions on Mathematical
       Software 11(1), 1985.
    .. [2] A. Kusupati et al., "Matryoshka representation learning", NeurIPS, 2022.
    .. [3] P. O'Neil, E. Cheng, D. Gawlick and E. O'Neil, "The log-structured merge-tree
       (LSM-tree)", Acta Informatica 33, 1996.
    .. [4] R. Gemulla, W. Lehner and P. J. Haas, "A dip in the reservoir: maintaining sample
       synopses of evolving datasets", VLDB, 2006.
    """
    name = os.path.abspath(os.fsdecode(os.fspath(path)))
    shared: dict[str, Any] = {"sync": sync, "verify": verify, "flush_bytes": flush_bytes}
    wishes: dict[str, Any] = {
        "code_bytes": code_bytes,
        "keep_rows": keep_rows,
        "on_drift": on_drift,
        "truncate": truncate,
    }
    managed = os.path.exists(os.path.join(name, MANAGED)) and mode != "w"
    if d is None and not (managed and os.path.exists(os.path.join(name, MANIFEST))):
        given = [name for name, value in wishes.items() if value is not None]
        if given:
            raise ValueError(f"{given[0]}: only a managed folder has it; give d= to make one")
        index = opening.open_index(
            path,
            mode,
            codec=codec,
            metric=metric,
            nprobe=nprobe,
            target_recall=target_recall,
            refine=refine,
            k_factor=k_factor,
            compaction=compaction,
            **shared,
        )
        if mode == "w":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(name, MANAGED))
        return index
    for other, value in (("codec", codec), ("nprobe", nprobe), ("refine", refine)):
        if value is not None:
            raise ValueError(
                f"{other}: a managed folder chooses it; leave it out, or give codec= without d="
            )
    wishes["target_recall"] = target_recall
    share = _as_share(background)
    index = _open_managed(name, mode, d, metric, wishes, shared | {"k_factor": k_factor})
    if mode != "r" and share is not None:
        index._start(share)
    return index


def _open_managed(
    name: str,
    mode: Literal["r", "a", "w"],
    d: int | None,
    metric: Metric | int | None,
    wishes: dict[str, Any],
    options: dict[str, Any],
) -> ManagedIndex:
    from waterfill.managed.index import ManagedIndex  # imports the optimizer and more

    exists = os.path.exists(os.path.join(name, MANIFEST)) and mode != "w"
    if exists:
        return _open_existing(name, mode, d, metric, wishes, options)
    if mode == "r":
        raise FileNotFoundError(2, "no index in this folder; open it with mode='a'", name)
    d = as_positive_int("d", d)
    kind = metric_name("ip" if metric is None else metric)
    settings = Settings.of(
        d,
        wishes["target_recall"],
        wishes["code_bytes"],
        wishes["keep_rows"] or "float16",
        wishes["on_drift"] or "retrain",
        bool(wishes["truncate"]) if wishes["truncate"] is None else wishes["truncate"],
    )
    first = _first_codec(d, kind)
    os.makedirs(name, exist_ok=True)
    with _written(name, State(settings, first.fingerprint)):
        index = opening.open_index(
            name,
            "w" if mode == "w" else "a",
            codec=first,
            metric=kind,
            nprobe=1,
            refine=FIRST_ROWS if settings.keep_rows == "none" else settings.keep_rows,
            kind=ManagedIndex,
            **options,
        )
    assert isinstance(index, ManagedIndex)
    return index


def _open_existing(
    name: str,
    mode: Literal["r", "a", "w"],
    d: int | None,
    metric: Metric | int | None,
    wishes: dict[str, Any],
    options: dict[str, Any],
) -> ManagedIndex:
    from waterfill.managed.index import ManagedIndex

    index = opening.open_index(name, mode, metric=metric, kind=ManagedIndex, **options)
    assert isinstance(index, ManagedIndex)
    try:
        if d is not None and as_positive_int("d", d) != index.d:
            raise ValueError(f"d={d}: the folder has vectors of {index.d} dimensions")
        index._wish(wishes)
    except BaseException:
        index.close()
        raise
    return index


@contextlib.contextmanager
def _written(name: str, state: State) -> Any:
    """Write the file that makes a folder managed; take it back if the folder cannot be made."""
    path = os.path.join(name, MANAGED)
    had = os.path.exists(path)
    state.write(name)
    try:
        yield
    except BaseException:
        if not had:
            os.unlink(path)
        raise


def _first_codec(d: int, metric: Metric) -> Codec:
    """Return the codec of a folder that is not trained: rows alone decide its answers."""
    from waterfill.training.universal import UniversalSettings, train_universal

    settings = UniversalSettings.of(d, 1, metric, _WIDE, 0)
    return Codec(train_universal(settings, lists=True))


def _as_share(background: Any) -> float | None:
    if isinstance(background, str):
        if background != "off":
            raise ValueError(f"background={background!r} must be a share of a core, or 'off'")
        return None
    share = as_number("background", background, 0, finite=True)
    if not 0 < share <= 1:
        raise ValueError(f"background={background!r} must be above 0 and at most 1, or 'off'")
    return share
