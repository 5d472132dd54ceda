"""Settings and state of a managed index, in a file of its folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.stored_values import parse_object, reading, require_types
from waterfill._util.validation import as_positive_int
from waterfill.index.list_recall import as_target_recall

MANAGED = "MANAGED"
"""The file. A folder that has it is managed."""
KeepRows = Literal["float16", "int8", "none"]
OnDrift = Literal["retrain", "warn"]
DEFAULT_TARGET = 0.9
FIRST_ROWS: KeepRows = "float16"
"""Rows until the first codec, where none are kept later."""

_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """What the user asked for.

    Attributes
    ----------
    target_recall : float or None
        Recall@10 to keep with the fewest bytes; None with `code_bytes`.
    code_bytes : int or None
        Bytes of a code, without the byte of its scale.
    keep_rows : {'float16', 'int8', 'none'}
        Rows on the disk, which rank the candidates and are what vectors are encoded anew from.
        ``none``: only until the first codec.
    on_drift : {'retrain', 'warn'}
        What to do when recall is measured to be too low.
    truncate : bool
        Whether longer vectors are taken, of which the first `d` dimensions count.
    """

    target_recall: float | None = DEFAULT_TARGET
    code_bytes: int | None = None
    keep_rows: KeepRows = "float16"
    on_drift: OnDrift = "retrain"
    truncate: bool = False

    @classmethod
    def of(
        cls,
        d: int,
        target_recall: float | None,
        code_bytes: int | None,
        keep_rows: Any,
        on_drift: Any,
        truncate: bool,
    ) -> Settings:
        """Validate what the user gave.

        Raises
        ------
        ValueError, TypeError
            If a value is out of range or of the wrong type.
        """
        if target_recall is not None and code_bytes is not None:
            raise ValueError("target_recall and code_bytes: expected one of them")
        if code_bytes is not None:
            code_bytes = as_positive_int("code_bytes", code_bytes)
            if code_bytes > d:
                raise ValueError(f"code_bytes={code_bytes} must be at most d={d}")
        else:
            target_recall = as_target_recall(
                DEFAULT_TARGET if target_recall is None else target_recall
            )
        for name, value, known in (
            ("keep_rows", keep_rows, get_args(KeepRows)),
            ("on_drift", on_drift, get_args(OnDrift)),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, known))}")
        if not isinstance(truncate, bool):
            raise TypeError(f"truncate must be a bool, got {truncate!r}")
        return cls(target_recall, code_bytes, keep_rows, on_drift, truncate)

    @property
    def words(self) -> str:
        """What is asked for, in words."""
        if self.code_bytes is not None:
            return f"codes of {self.code_bytes} bytes"
        return f"recall@10 of {self.target_recall:g} in the fewest bytes"


@dataclass(frozen=True)
class Measured:
    """Recall@10 of the index as it is, measured against an exact search of its rows.

    Attributes
    ----------
    recall, low, high : float
        The mean over the queries, and Wilson's 95 % interval [1]_.
    vectors, queries : int
        Numbers of vectors that were searched, and of queries.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
       Journal of the American Statistical Association 22, 1927.
    """

    recall: float
    low: float
    high: float
    vectors: int
    queries: int

    def __str__(self) -> str:
        return (
            f"{self.recall:.3f} ({self.low:.3f} to {self.high:.3f}) among {self.vectors:,} "
            f"vectors, by {self.queries} queries"
        )


@dataclass(frozen=True)
class State:
    """Settings, and what maintenance knows.

    Attributes
    ----------
    settings : Settings
    first_codec : str
        Fingerprint of the codec that stands in until there are enough vectors to train one.
    codec : str
        Fingerprint of the codec that the next fields are about; they are void for another one.
    trained_among : int
        Number of vectors at its training.
    trained_for : int
        Number of queries that it was trained for; 0 if it was trained on vectors alone.
    meant_for : int
        Number of vectors at which another one is trained.
    expected : float or None
        Recall of its codes alone that training expects among as many.
    measured : Measured or None
        With stored vectors as queries, half of them recent ones.
    asked : Measured or None
        With queries that were asked; None if they were too few.
    measured_at : int
        Number of vectors of the index then; `measured` may be about a sample of them.
    drift : str
        How vectors that came lately compare with those of training, in words.
    """

    settings: Settings
    first_codec: str
    codec: str = ""
    trained_among: int = 0
    trained_for: int = 0
    meant_for: int = 0
    expected: float | None = None
    measured: Measured | None = None
    asked: Measured | None = None
    measured_at: int = 0
    drift: str = "not watched yet"

    def write(self, path: str) -> None:
        """Write the file of a folder, atomically."""
        data = {"format": "waterfill-managed", "version": _VERSION, **asdict(self)}
        with atomic_write(os.path.join(path, MANAGED)) as file:
            file.write(json.dumps(data, indent=2).encode() + b"\n")

    @classmethod
    def read(cls, path: str) -> State:
        """Read the file of a folder.

        Raises
        ------
        FileNotFoundError
            If there is none.
        FormatError
            If it is damaged, or of a later version.
        """
        name = os.path.join(path, MANAGED)
        with open(name, "rb") as file:
            text = file.read().decode("utf-8", "replace")
        with reading(f"{name}: damaged", _core.FormatError):
            data = parse_object(text)
            if data.get("format") != "waterfill-managed" or data.get("version") != _VERSION:
                raise ValueError("expected version 1 of waterfill-managed")
            data["settings"] = Settings(**_known(Settings, data["settings"]))
            for measured in ("measured", "asked"):
                if data.get(measured) is not None:
                    data[measured] = Measured(**_known(Measured, data[measured]))
            return cls(**{name: data[name] for name in _names(cls) if name in data})


def _names(kind: type[Any]) -> set[str]:
    return {one.name for one in fields(kind)}


def _known(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a dataclass's fields, with the types that these have."""
    known = {name: value for name, value in values.items() if name in _names(kind)}
    require_types(kind, known)
    return known
