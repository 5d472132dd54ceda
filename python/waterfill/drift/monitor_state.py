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
_PROBED = ("scale", "checked", "changed", "cosines")


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
    said: dict[str, Any] = {
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
        said[name] = {"learns": stream.learns, "looks": stream.looks, "looked": stream.looked}
        if stream.recent is not None:
            arrays[f"{name}.recent"] = stream.recent
    if probes is not None:
        arrays["probes"] = probes.vectors
        said["probes"] = {name: getattr(probes, name) for name in _PROBED}
    arrays["settings"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def read(data: bytes) -> tuple[Codec, MonitorSettings, Stream, Stream, Probes | None]:
    """Read what `write` returned; FormatError if it is damaged or of another kind."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        said = json.loads(arrays["settings"].tobytes())
        if said["format"] != _FORMAT:
            raise ValueError(f"format {said['format']!r}")
        if said["version"] > _VERSION:
            raise FormatError(
                f"state of a monitor of version {said['version']}; this waterfill reads version "
                f"{_VERSION}: install a later one"
            )
        codec = Codec.from_bytes(arrays["codec"].tobytes())
        features = Features(codec)
        streams = [_stream(features, name, arrays, said[name]) for name in ("data", "queries")]
        probes = Probes(arrays["probes"], **said["probes"]) if "probes" in said else None
        return codec, _settings(said), streams[0], streams[1], probes
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"not the state of a drift monitor, or damaged: {error}") from None


def bytes_of(path: Any) -> bytes:
    """Read a file that may hold a monitor; FormatError if it cannot."""
    with open(as_file_name(path), "rb") as file:
        data = file.read(len(_MAGIC))
        if data != _MAGIC:
            raise FormatError(f"{path}: not the state of a drift monitor")
        return data + file.read()


def is_state(path: Any) -> bool:
    """Whether a file holds a monitor, judged by its table of contents."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"settings.npy", "codec.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _settings(said: dict[str, Any]) -> MonitorSettings:
    canary, sensitivity = said["canary"], said["sensitivity"]
    return MonitorSettings(
        alpha=said["alpha"],
        permutations=said["permutations"],
        seed=said["seed"],
        metric=said["metric"],
        canary=canary and CanaryRecall.from_dict(canary),
        sensitivity=sensitivity and Sensitivity.from_dict(sensitivity),
    )


def _stream(features: Features, name: str, arrays: dict[str, Any], said: dict[str, Any]) -> Stream:
    banks = [
        BlockStatistics.of_arrays(f"{name}.{part}", arrays) for part in ("reference", "window")
    ]
    for bank in banks:
        _require_shapes(name, bank, features)
    counts = said["learns"], said["looks"], said["looked"]
    recent = arrays.get(f"{name}.recent")
    if recent is not None and (recent.shape, recent.dtype) != ((RECENT,), np.uint32):
        raise ValueError(f"{name}.recent has shape {recent.shape}, dtype {recent.dtype}")
    return Stream(features, banks[0], banks[1], *counts, recent)


def _require_shapes(name: str, bank: BlockStatistics, features: Features) -> None:
    slots, groups = len(bank.rows), len(bank.occupancy)
    if slots == 0 or slots & (slots - 1) or groups not in (0, features.groups):
        raise ValueError(f"{name} has {slots} slots and {groups} groups")
    wanted = BlockStatistics.empty(slots, len(features), features.d, groups).arrays(name)
    for each, array in bank.arrays(name).items():
        if (array.shape, array.dtype) != (wanted[each].shape, wanted[each].dtype):
            raise ValueError(f"{each} has shape {array.shape}, dtype {array.dtype}")
