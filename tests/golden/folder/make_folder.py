"""Write the golden files of folders. Existing ones are never overwritten."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from waterfill import _core

HERE = Path(__file__).parent
FINGERPRINT = bytes(range(200, 216))
CODE_SIZE, ROW_BYTES = 4, 12


def log() -> bytes:
    """Records of each kind; the last one is in three sectors."""
    parts = [_core.log_header(7, CODE_SIZE, ROW_BYTES, FINGERPRINT)]
    kinds = [("append", 3), ("upsert", 2), ("remove", 4), ("append", 40)]
    for sequence, (kind, n) in enumerate(kinds, 1):
        ids = 100 * sequence + np.arange(n)
        codes = np.arange(n * CODE_SIZE).astype(np.uint8).reshape(n, CODE_SIZE)
        rows = np.arange(n * ROW_BYTES).astype(np.uint8).reshape(n, ROW_BYTES)
        contents = (ids,) if kind == "remove" else (ids, codes, rows)
        parts.append(_core.log_record(kind, sequence, *contents))
    return b"".join(parts)


def manifest() -> _core.Manifest:
    """Two codecs; segments with and without tombstones."""
    other = bytes(range(16))
    return _core.Manifest(
        metric=_core.Metric.l2,
        d=12,
        number=9,
        log=7,
        next_file=10,
        next_id=5000,
        nprobe=3,
        row_kind=_core.RowKind.float16,
        k_factor=2.5,
        codecs=[_core.ManifestCodec(1, FINGERPRINT), _core.ManifestCodec(4, other)],
        segments=[
            _core.ManifestSegment(number=2, vectors=500, bytes=9000, codec=1, crc=0x12345678),
            _core.ManifestSegment(
                number=5,
                vectors=4000,
                bytes=70000,
                codec=4,
                crc=0xFEDCBA98,
                tombstones=8,
                dead=17,
                tombstones_crc=0x01020304,
            ),
        ],
    )


def manifest_with_target() -> _core.Manifest:
    """The same with a target recall."""
    made = manifest()
    made.target_recall = 0.9
    return made


def empty_manifest() -> _core.Manifest:
    """A flat index without vectors."""
    return _core.Manifest(
        metric=_core.Metric.inner_product,
        d=12,
        number=3,
        log=2,
        next_file=4,
        codecs=[_core.ManifestCodec(1, FINGERPRINT)],
    )


def main() -> None:
    """Write what does not exist."""
    few, many = np.array([0, 7, 8, 999], np.uint32), np.arange(0, 1000, 3, dtype=np.uint32)
    files = {
        "1.5-log": log(),
        "1.5-manifest": manifest().to_bytes(),
        "1.7-manifest-target": manifest_with_target().to_bytes(),
        "1.5-manifest-empty": empty_manifest().to_bytes(),
        "1.5-tombstones-sorted": _core.tombstones_to_bytes(5, 1000, few),
        "1.5-tombstones-bitmap": _core.tombstones_to_bytes(5, 1000, many),
    }
    for name, data in files.items():
        path = HERE / f"{name}.wf"
        if not path.exists():
            path.write_bytes(data)


if __name__ == "__main__":
    main()
