"""Serialisation of a monitor: an .npz archive of its arrays, settings and codec."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from waterfill._core import FormatError
from waterfill._util.input_file import open_input
from waterfill._util.stored_values import as_count, as_real, parse_object, reading
from waterfill._util.validation import Metric, metric_name
from waterfill.codec import Codec
from waterfill.drift.baseline import checked_alpha, checked_permutations, checked_seed
from waterfill.drift.block_statistics import BlockStatistics
from waterfill.drift.canary_recall import CanaryRecall
from waterfill.drift.feature_families import Features
from waterfill.drift.model_change import MAX_PROBES, Probes
from waterfill.drift.monitored_stream import MAX_SLOTS, RECENT, Stream
from waterfill.drift.recall_sensitivity import Sensitivity
from waterfill.drift.state_archive import MAGIC, StateArchive

_FORMAT, _VERSION = "waterfill-drift-monitor", 1
_MIN_SCALE = 2.0**-130  # of probes; float32 has none that need less
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
    with reading("not the state of a drift monitor, or damaged", FormatError):
        archive = StateArchive(data)
        metadata = parse_object(archive.text("settings"))
        if metadata["format"] != _FORMAT:
            raise ValueError(f"expected format {_FORMAT!r}, got {metadata['format']!r}")
        if as_count("version", metadata["version"]) > _VERSION:
            raise FormatError(
                f"expected a monitor state of version {_VERSION} or older, got version "
                f"{metadata['version']}; install a newer waterfill"
            )
        settings = _settings(metadata)
        codec = Codec.from_bytes(archive.text("codec"))
        features = Features(codec)
        streams = [_stream(features, name, archive, metadata[name]) for name in ("data", "queries")]
        probes = _probes(codec.d, archive, metadata["probes"]) if "probes" in metadata else None
        archive.require_all_read()
        return codec, settings, streams[0], streams[1], probes


def bytes_of(path: Any) -> bytes:
    """Read the file of a monitor; FormatError if it does not start like one."""
    with open_input(path, pipes=True) as file:
        data = file.read(len(MAGIC))
        if data != MAGIC:
            raise FormatError(f"{path}: not the state of a drift monitor")
        return data + file.read()


def is_state(path: Any) -> bool:
    """Return whether a file holds a monitor, by its table of contents."""
    try:
        with open_input(path) as file, zipfile.ZipFile(file) as archive:
            return {"settings.npy", "codec.npy"} <= set(archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _settings(metadata: dict[str, Any]) -> MonitorSettings:
    canary, sensitivity = metadata["canary"], metadata["sensitivity"]
    return MonitorSettings(
        alpha=checked_alpha(metadata["alpha"]),
        permutations=checked_permutations(metadata["permutations"]),
        seed=checked_seed(metadata["seed"]),
        metric=metric_name(metadata["metric"]),
        canary=None if canary is None else CanaryRecall.from_dict(canary),
        sensitivity=None if sensitivity is None else Sensitivity.from_dict(sensitivity),
    )


def _probes(d: int, archive: StateArchive, metadata: dict[str, Any]) -> Probes:
    shape, _ = archive.layout("probes")
    if len(shape) != 2 or not 1 <= shape[0] <= MAX_PROBES:
        raise ValueError(f"probes: expected 1 to {MAX_PROBES} rows, got shape {shape}")
    vectors = archive.array("probes", (shape[0], d), np.float16)
    if not np.isfinite(vectors).all():
        raise ValueError("probes: expected finite numbers")
    checked = as_count("probes.checked", metadata["checked"])
    return Probes(
        vectors,
        scale=as_real("probes.scale", metadata["scale"], _MIN_SCALE),
        checked=checked,
        changed=as_count("probes.changed", metadata["changed"], 0, checked),
        cosines=as_real("probes.cosines", metadata["cosines"]),
    )


def _stream(
    features: Features, name: str, archive: StateArchive, metadata: dict[str, Any]
) -> Stream:
    reference, window = (
        _statistics(f"{name}.{side}", features, archive) for side in ("reference", "window")
    )
    counts = (
        as_count(f"{name}.learns", metadata["learns"]),
        as_count(f"{name}.looks", metadata["looks"]),
        as_count(f"{name}.looked", metadata["looked"], -1),
    )
    key = f"{name}.recent"
    recent = archive.array(key, (RECENT,), np.uint32) if key in archive else None
    return Stream(features, reference, window, *counts, recent)


def _statistics(prefix: str, features: Features, archive: StateArchive) -> BlockStatistics:
    shapes = [archive.layout(f"{prefix}.{name}")[0] for name in ("rows", "occupancy")]
    slots, groups = (shape[0] if shape else 0 for shape in shapes)
    if not 0 < slots <= MAX_SLOTS or slots & (slots - 1) or groups not in (0, features.groups):
        raise ValueError(
            f"{prefix}: expected a power of two of slots, up to {MAX_SLOTS}, and 0 or "
            f"{features.groups} groups, got {slots} slots and {groups} groups"
        )
    expected = BlockStatistics.empty(slots, len(features), features.d, groups).arrays(prefix)
    arrays = {key: archive.array(key, each.shape, each.dtype) for key, each in expected.items()}
    statistics = BlockStatistics.of_arrays(prefix, arrays)
    statistics.require_valid(prefix)
    return statistics
