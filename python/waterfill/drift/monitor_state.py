"""Serialisation of a monitor: an .npz archive of its arrays, settings and codec."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from waterfill._core import FormatError
from waterfill._util.validation import Metric, as_file_name
from waterfill.codec import Codec
from waterfill.drift.block_statistics import BlockStatistics
from waterfill.drift.canary_recall import CanaryRecall
from waterfill.drift.feature_families import Features
from waterfill.drift.model_change import Probes
from waterfill.drift.monitored_stream import RECENT, Stream
from waterfill.drift.recall_sensitivity import Sensitivity

_FORMAT, _VERSION = "waterfill-drift-monitor", 1
_MAGIC = b"PK\x03\x04"
_PROBE_FIELDS = ("scale", "checked", "changed", "cosines")


@dataclass
class MonitorSettings:
    """Settings of a monitor, and measurements of its baseline.

    Attributes
    ----------
    alpha : float
    permutations, seed : int
    metric : {'ip', 'l2', 'cosine'}
    canary : CanaryRecall or None
    sensitivity : Sensitivity or None
    """

    alpha: float
    permutations: int
    seed: int
    metric: Metric
    canary: CanaryRecall | None = None
    sensitivity: Sensitivity | None = None


def write(
    codec: Codec, settings: MonitorSettings, data: Stream, queries: Stream, probes: Probes | None
) -> bytes:
    """Serialise a monitor."""
    arrays: dict[str, Any] = {"codec": np.frombuffer(codec.to_bytes(), np.uint8)}
    metadata: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "alpha": settings.alpha,
        "permutations": settings.permutations,
        "seed": settings.seed,
        "metric": settings.metric,
        "canary": settings.canary and settings.canary.to_dict(),
        "sensitivity": settings.sensitivity and settings.sensitivity.to_dict(),
    }
    for name, stream in (("data", data), ("queries", queries)):
        arrays |= stream.reference.arrays(f"{name}.reference")
        arrays |= stream.window.arrays(f"{name}.window")
        metadata[name] = {
            "learns": stream.rows_to_learn,
            "looks": stream.looks,
            "looked": stream.tested_rows,
        }
        if stream.recent is not None:
            arrays[f"{name}.recent"] = stream.recent
    if probes is not None:
        arrays["probes"] = probes.vectors
        metadata["probes"] = {name: getattr(probes, name) for name in _PROBE_FIELDS}
    arrays["settings"] = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def read(data: bytes) -> tuple[Codec, MonitorSettings, Stream, Stream, Probes | None]:
    """Read what `write` returned; FormatError if it is damaged or not a monitor."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        metadata = json.loads(arrays["settings"].tobytes())
        if metadata["format"] != _FORMAT:
            raise ValueError(f"expected format {_FORMAT!r}, got {metadata['format']!r}")
        if metadata["version"] > _VERSION:
            raise FormatError(
                f"expected a monitor state of version {_VERSION} or older, got version "
                f"{metadata['version']}; install a newer waterfill"
            )
        codec = Codec.from_bytes(arrays["codec"].tobytes())
        features = Features(codec)
        streams = [_stream(features, name, arrays, metadata[name]) for name in ("data", "queries")]
        probes = Probes(arrays["probes"], **metadata["probes"]) if "probes" in metadata else None
        return codec, _settings(metadata), streams[0], streams[1], probes
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"not the state of a drift monitor, or damaged: {error}") from None


def bytes_of(path: Any) -> bytes:
    """Read the file of a monitor; FormatError if it does not start like one."""
    with open(as_file_name(path), "rb") as file:
        data = file.read(len(_MAGIC))
        if data != _MAGIC:
            raise FormatError(f"{path}: not the state of a drift monitor")
        return data + file.read()


def is_state(path: Any) -> bool:
    """Return whether a file holds a monitor, by its table of contents."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"settings.npy", "codec.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _settings(metadata: dict[str, Any]) -> MonitorSettings:
    canary, sensitivity = metadata["canary"], metadata["sensitivity"]
    return MonitorSettings(
        alpha=metadata["alpha"],
        permutations=metadata["permutations"],
        seed=metadata["seed"],
        metric=metadata["metric"],
        canary=canary and CanaryRecall.from_dict(canary),
        sensitivity=sensitivity and Sensitivity.from_dict(sensitivity),
    )


def _stream(
    features: Features, name: str, arrays: dict[str, Any], metadata: dict[str, Any]
) -> Stream:
    reference, window = (
        BlockStatistics.of_arrays(f"{name}.{side}", arrays) for side in ("reference", "window")
    )
    for statistics in (reference, window):
        _require_shapes(name, statistics, features)
    counts = metadata["learns"], metadata["looks"], metadata["looked"]
    recent = arrays.get(f"{name}.recent")
    if recent is not None and (recent.shape, recent.dtype) != ((RECENT,), np.uint32):
        raise ValueError(
            f"{name}.recent: expected shape ({RECENT},) and dtype uint32, got {recent.shape} and "
            f"{recent.dtype}"
        )
    return Stream(features, reference, window, *counts, recent)


def _require_shapes(name: str, statistics: BlockStatistics, features: Features) -> None:
    slots, groups = len(statistics.rows), len(statistics.occupancy)
    if slots == 0 or slots & (slots - 1) or groups not in (0, features.groups):
        raise ValueError(
            f"{name}: expected a power of two of slots and 0 or {features.groups} groups, got "
            f"{slots} slots and {groups} groups"
        )
    expected = BlockStatistics.empty(slots, len(features), features.d, groups).arrays(name)
    for key, array in statistics.arrays(name).items():
        shape, dtype = expected[key].shape, expected[key].dtype
        if (array.shape, array.dtype) != (shape, dtype):
            raise ValueError(
                f"{key}: expected shape {shape} and dtype {dtype}, got {array.shape} and "
                f"{array.dtype}"
            )
