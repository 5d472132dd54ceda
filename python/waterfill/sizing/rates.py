"""Rates of a machine, measured by `measure_rates` and kept as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from waterfill._util.input_file import read_input

Source = Literal["npy", "parquet"]


@dataclass(frozen=True)
class Rates:
    """What a vector and a query cost on a core of a machine.

    Attributes
    ----------
    machine : str
        Where and when it was measured.
    d, code_bytes : int
        As for `Recipe`.
    metric, refine : str
        ``refine`` is empty without rows.
    source : {'npy', 'parquet'}
        Files that were read.
    build_seconds : float
        CPU time of a vector in `waterfill.build` from files that are not cached, without lists.
    read_seconds : float
        The part of it that reads the vector.
    assign_seconds : float
        CPU time of a vector and list: the search for the nearest centroid.
    train_seconds : float
        CPU time of training, on the rows that `waterfill.build` draws, without lists.
    kmeans_seconds : float
        CPU time of training for a row that is drawn and a list.
    codec_bytes : int
        Size of the codec's file, without lists.
    query_seconds : float
        Of a query, whatever is searched.
    scan_seconds : float
        Of a query and a vector that is scanned.
    centroid_seconds, list_seconds : float
        Of a query and a centroid, and of a query and a list that is scanned.
    rescore_seconds : float
        Of a query and a candidate that is scored by its row in memory; 0 without rows.
    spread : list of float
        Latencies of single queries, ascending, relative to their median.
    """

    machine: str
    d: int
    code_bytes: int
    metric: str
    refine: str
    source: str
    build_seconds: float
    read_seconds: float
    assign_seconds: float
    train_seconds: float
    kmeans_seconds: float
    codec_bytes: int
    query_seconds: float
    scan_seconds: float
    centroid_seconds: float
    list_seconds: float
    rescore_seconds: float
    spread: list[float]

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Parameters
        ----------
        path : str or Path
            An existing file is replaced.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        Path(path).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Rates:
        """Read the result of `save`.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        Rates
            Equal rates.

        Raises
        ------
        ValueError
            If the file holds something else.
        """
        try:
            values: dict[str, Any] = json.loads(read_input(Path(path)))
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(f"{path}: expected the rates of a machine: {error}") from None

    def require(self, **setting: Any) -> None:
        """Raise an error if it was measured for other codes.

        Parameters
        ----------
        **setting : object
            Values of attributes that are expected, such as ``d=768``.

        Raises
        ------
        ValueError
            If an attribute has another value.
        """
        for name, value in setting.items():
            measured = getattr(self, name)
            if measured != value:
                raise ValueError(
                    f"rates: measured for {name}={measured!r}, expected {value!r}; measure again"
                )
