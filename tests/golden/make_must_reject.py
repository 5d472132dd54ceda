"""Write the files that every reader must refuse. Existing ones are never overwritten.

Each is a valid file with one fault and right checksums, or with a wrong checksum as its fault.
``expected.json`` has, by the name of the file, words of the message and the hash of the file. Run
with ``tests`` on PYTHONPATH:

    PYTHONPATH=tests python tests/golden/make_must_reject.py
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.container import Container, Section, entry_at, repaired

import waterfill as wf
from waterfill import _core

FOLDER = Path(__file__).parent / "must_reject"
NAN, INFINITY = float("nan"), float("inf")

Case = tuple[str, Callable[[bytes], bytes]]  # words of the message, and the fault


def base() -> bytes:
    """Return a small file that has nearly all sections."""
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((300, 3)) * (2, 1, 0.5) + 0.5).astype("f4")
    plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=1)
    codec = wf.Codec.train(x, plan, cells=2, effort="best")
    index = wf.IndexIVF(codec, 2, metric="l2", refine="int8")
    index.add_with_ids(x[:5], np.arange(5) * 7)
    return index._core.to_bytes(**index._settings())


def of_1_5() -> bytes:
    """Return a small file with all sections of format 1.5."""
    container = Container.parse(base())
    count, size = 5, struct.unpack("<Q", container["INDEX"].data[8:])[0]
    assert size == count
    index = wf.IndexIVF._from_stored(_core.index_from_bytes(base()))
    vectors = index.reconstruct_n(0, count)
    other = wf.IndexIVF(index.codec, 2, metric="l2", refine="int8")
    other.add_with_ids(vectors, np.array([30, -4, 7, 7, 12]))
    return other._core.to_bytes(**other._settings())


def of_1_6() -> bytes:
    """Return a small file with all sections of format 1.6."""
    return base()


def of_1_7() -> bytes:
    """Return a small file with all sections of format 1.7."""
    return base()


def with_rule(rule: int) -> Callable[[bytes], bytes]:
    """Return a fault: a section CELLRULE, behind CENTROID."""

    def change(file: Container) -> None:
        place = file.sections.index(file["CENTROID"]) + 1
        section = Section(b"CELLRULE", bytearray(struct.pack("<I", rule)))
        file.sections.insert(place, section)

    return parts(change)


def at(tag: str, offset: int, code: str, *values: float) -> Callable[[bytes], bytes]:
    """Return a fault: numbers in a section."""

    def edit(file: bytes) -> bytes:
        parts = Container.parse(file)
        struct.pack_into(f"<{code}", parts[tag].data, offset, *values)
        return parts.to_bytes()

    return edit


def entry(tag: str, offset: int, code: str, change: Callable[[int], int]) -> Callable[..., bytes]:
    """Return a fault: a number in the table entry of a section."""

    def edit(file: bytes) -> bytes:
        data, start = bytearray(file), entry_at(file, tag) + offset
        struct.pack_into(code, data, start, change(struct.unpack_from(code, data, start)[0]))
        return repaired(data)

    return edit


def header(offset: int, value: bytes, *, repair: bool = True) -> Callable[[bytes], bytes]:
    """Return a fault: bytes of the header."""

    def edit(file: bytes) -> bytes:
        data = bytearray(file)
        data[offset : offset + len(value)] = value
        return repaired(data) if repair else bytes(data)

    return edit


def parts(change: Callable[[Container], object]) -> Callable[[bytes], bytes]:
    """Return a fault of whole sections."""

    def edit(file: bytes) -> bytes:
        container = Container.parse(file)
        change(container)
        return container.to_bytes()

    return edit


def resized(tag: str, size: int) -> Callable[[bytes], bytes]:
    """Return a fault: a section cut, or filled with zeros, by some bytes."""

    def change(file: Container) -> None:
        section = file[tag]
        section.data = section.data[:size] if size < 0 else section.data + bytes(size)

    return parts(change)


def filled(tag: str, data: bytes) -> Callable[[bytes], bytes]:
    """Return a fault: other contents of a section."""
    return parts(lambda file: setattr(file[tag], "data", bytearray(data)))


def padded(file: bytes) -> bytes:
    """Set a byte of the padding before section MEAN."""
    data = bytearray(file)
    data[struct.unpack_from("<Q", data, entry_at(file, "MEAN") + 8)[0] - 1] = 1
    return repaired(data)


def trailing(file: bytes) -> bytes:
    """Append bytes that belong to no section."""
    data = bytearray(file) + bytes(64)
    struct.pack_into("<Q", data, 16, len(data))
    return repaired(data)


def hidden_gap(file: bytes) -> bytes:
    """Leave 64 bytes between two sections."""
    start = struct.unpack_from("<Q", file, entry_at(file, "MEAN") + 8)[0]
    data = bytearray(file[:start] + bytes(64) + file[start:])
    struct.pack_into("<Q", data, 16, len(data))
    count = struct.unpack_from("<I", data, 24)[0]
    for place in range(64, 64 + 32 * count, 32):
        offset = struct.unpack_from("<Q", data, place + 8)[0]
        struct.pack_into("<Q", data, place + 8, offset + 64 * (offset >= start))
    return repaired(data)


def many_sections(file: bytes) -> bytes:
    """Announce more sections than a file may have."""
    data = bytearray(file)
    struct.pack_into("<I", data, 24, 65535)
    struct.pack_into("<I", data, 60, _core.crc32c(bytes(data[:60])))
    return bytes(data)


def without(tag: str) -> Callable[[bytes], bytes]:
    """Return a fault: a section that is missing."""
    return parts(lambda file: file.sections.remove(file[tag]))


CASES: dict[str, Case] = {
    "magic": ("first bytes differ", header(0, b"\x88")),
    "header-checksum": ("checksum of the header", header(60, b"\0\0\0\0", repair=False)),
    "major-version": (r"version 2\.3 is not known", header(8, b"\2")),
    "reserved-byte": ("reserved byte of the header", header(40, b"\1")),
    "unknown-kind": ("object of unknown kind", header(12, b"\x63")),
    "file-size": ("but its header says", header(16, b"\1")),
    "too-many-sections": ("section table does not fit", many_sections),
    "minor-version": ("MANIFEST belongs to format 1.3", header(10, b"\2")),
    "tag-not-ascii": ("a tag that is not", entry("MEAN", 0, "B", lambda _: 0xFF)),
    "tag-empty": ("a tag that is not", entry("MEAN", 0, "<Q", lambda _: 0)),
    "tag-after-zero": ("a tag that is not", entry("MEAN", 7, "B", lambda _: 65)),
    "section-beyond-file": ("MEAN exceeds", entry("MEAN", 16, "<Q", lambda _: 2**64 - 1)),
    "section-unaligned": ("MEAN does not start at", entry("MEAN", 8, "<Q", lambda n: n + 4)),
    "section-overlaps": ("MEAN overlaps", entry("MEAN", 8, "<Q", lambda n: n - 64)),
    "section-in-header": ("MEAN overlaps", entry("MEAN", 8, "<Q", lambda _: 0)),
    "section-gap": ("MEAN leaves a gap", hidden_gap),
    "section-padding": ("MEAN follows padding", padded),
    "section-flag": ("MEAN has an unknown flag", entry("MEAN", 28, "<I", lambda _: 2)),
    "section-checksum": ("checksum of section MEAN", lambda file: _flipped(file)),
    "section-twice": (
        "MEAN occurs twice",
        parts(lambda file: file.sections.append(file["MEAN"])),
    ),
    "section-unknown": (
        "FUTURE is not known",
        parts(lambda file: file.sections.append(Section(b"FUTURE\0\0", bytearray(4)))),
    ),
    "section-missing": ("BOOKS is missing", without("BOOKS")),
    "section-unused": ("ROWS does not belong", without("REFINE")),
    "bytes-behind": ("bytes follow the last section", trailing),
    "section-short": ("WEIGHTS has", resized("WEIGHTS", -4)),
    "section-long": ("HIGH has", resized("HIGH", 64)),
    "params-dimensions": ("sizes in section PARAMS", at("PARAMS", 0, "I", 2**31)),
    "params-groups": ("sizes in section PARAMS", at("PARAMS", 8, "I", 2**32 - 1)),
    "params-alpha": ("settings in section PARAMS", at("PARAMS", 16, "I", 5)),
    "params-scale-nan": ("PARAMS has a value that is not finite", at("PARAMS", 40, "d", NAN)),
    "params-scale-low": ("PARAMS has a scale out of range", at("PARAMS", 40, "d", 1e9)),
    "params-scale-step": ("PARAMS has a scale step", at("PARAMS", 48, "d", 50.0)),
    "params-cell-step": ("PARAMS has a scale step", at("PARAMS", 64, "d", 0.0)),
    "params-norm": ("negative norm", at("PARAMS", 72, "d", -1.0)),
    "shapes-width": ("SHAPES has an invalid group", at("SHAPES", 0, "I", 2**32 - 1)),
    "shapes-kind": ("SHAPES has an invalid group", at("SHAPES", 4, "I", 2)),
    "mean-nan": ("MEAN has a value that is not finite", at("MEAN", 0, "f", NAN)),
    "basis-infinite": ("BASIS has a value that is not finite", at("BASIS", 0, "f", INFINITY)),
    "basis-long-row": ("BASIS has a row whose norm", at("BASIS", 0, "f", 1e38)),
    "weights-zero": ("WEIGHTS has a value out of range", at("WEIGHTS", 0, "f", 0.0)),
    "weights-huge": ("WEIGHTS has a value out of range", at("WEIGHTS", 0, "f", 1e38)),
    "books-nan": ("BOOKS has a value that is not finite", at("BOOKS", 400, "f", NAN)),
    "books-huge": ("BOOKS has a value out of range", at("BOOKS", 400, "f", 1e38)),
    "cells-huge": ("CELLS has a value out of range", at("CELLS", 8, "f", -1e38)),
    "joint-exponent": ("JOINT has an invalid exponent", at("JOINT", 0, "f", 1e30)),
    "measured-nan": ("MEASURED has an invalid distortion", at("MEASURED", 0, "d", NAN)),
    "cellspec-cells": ("CELLSPEC has an invalid number", at("CELLSPEC", 0, "I", 2**17)),
    "cellspec-range": ("CELLSPEC has an invalid scale", at("CELLSPEC", 16, "d", -1.0)),
    "cellspec-sigma": ("CELLSPEC has an invalid prune_sigma", at("CELLSPEC", 32, "d", NAN)),
    "centroid-infinite": (
        "CENTROID has a value that is not finite",
        at("CENTROID", 4, "f", -INFINITY),
    ),
    "cellrule": (
        "CELLRULE has an unknown rule",
        lambda file: header(10, b"\4")(with_rule(2)(file)),
    ),
    "cellrule-version": ("CELLRULE belongs to format 1.4", with_rule(1)),
    "rests": (
        "second bytes must follow",
        parts(
            lambda file: file.sections.insert(
                2, Section(b"RESTS\0\0\0", bytearray(struct.pack("<II", 9, 8)))
            )
        ),
    ),
    "plan-not-utf8": ("PLAN is not UTF-8", filled("PLAN", b"{\xff}")),
    "manifest-not-utf8": ("MANIFEST is not UTF-8", filled("MANIFEST", b"\xed\xa0\x80")),
    "index-metric": ("INDEX names an unknown metric", at("INDEX", 0, "I", 3)),
    "index-setting": ("INDEX names an unknown metric or setting", at("INDEX", 4, "I", 2)),
    "index-size": ("INDEX has more vectors", at("INDEX", 8, "Q", 2**63)),
    "index-size-of-memory": ("SCALE has 5 bytes", at("INDEX", 8, "Q", 2**32 - 1)),
    "lists-beyond": ("LISTOF names a list", at("LISTOF", 0, "B", 2)),
    "codes-padding": ("padding that is not zero", at("HIGH", 15, "B", 15)),
    "codes-missing-group": ("padding that is not zero", at("LOW", 0, "B", 0xF0)),
    "ids-minus-one": ("IDS has an id of -1", at("IDS", 8, "q", -1)),
    "ivf-nprobe": ("IVF has invalid settings", at("IVF", 0, "I", 0)),
    "ivf-reserved": ("IVF has invalid settings", at("IVF", 4, "I", 1)),
    "ivf-of-flat-index": ("IVF does not belong", header(12, b"\2")),
    "refine-kind": ("settings in section REFINE", at("REFINE", 0, "I", 3)),
    "refine-factor": ("settings in section REFINE", at("REFINE", 4, "f", NAN)),
    "rows-nan": ("ROWS has a value that is not finite", at("ROWS", 0, "f", NAN)),
}


# Of the recall of lists.
CASES_OF_1_6: dict[str, Case] = {
    "probes-number": ("PROBES does not fit the number of cells", at("PROBES", 0, "I", 2)),
    "probes-size": ("PROBES has", resized("PROBES", 4)),
    "probes-decay": ("PROBES has a decay out of range", at("PROBES", 4, "f", NAN)),
    "probes-share": ("PROBES has a share that rises", at("PROBES", 12, "f", 1.5)),
    "probes-share-nan": ("PROBES has a share that rises", at("PROBES", 16, "f", NAN)),
    "probes-version": ("PROBES belongs to format 1.6", header(10, b"\5")),
}

# Of the target recall.
CASES_OF_1_7: dict[str, Case] = {
    "target-zero": ("TARGET is not above 0", at("TARGET", 0, "d", 0.0)),
    "target-above-one": ("TARGET is not above 0 and at most 1", at("TARGET", 0, "d", 1.5)),
    "target-nan": ("TARGET is not above 0", at("TARGET", 0, "d", NAN)),
    "target-size": ("TARGET has", resized("TARGET", -4)),
    "target-version": ("TARGET belongs to format 1.7", header(10, b"\6")),
    "target-of-flat-index": (
        "TARGET does not belong",
        lambda file: header(12, b"\2")(without("IVF")(file)),
    ),
}

# Of the sections that follow from others.
CASES_OF_1_5: dict[str, Case] = {
    "lists-size": ("LISTS contradicts", at("LISTS", 0, "I", 1)),
    "lists-words": ("LISTS contradicts", at("LISTS", 4, "I", 2)),
    "lists-range": ("LISTS contradicts", at("LISTS", 8, "B", 0)),
    "lists-reserved": ("LISTS contradicts", at("LISTS", 12, "I", 1)),
    "lists-missing": ("IDINFO does not belong", without("LISTS")),
    "labels-low": ("LABLOW contradicts", at("LABLOW", 0, "B", 77)),
    "labels-bits": ("LABBITS contradicts", at("LABBITS", 0, "Q", 1 << 63)),
    "labels-sample": ("LABSAMP contradicts", at("LABSAMP", 0, "Q", 1)),
    "labels-missing": ("LABBITS is missing", without("LABBITS")),
    "ids-next": ("IDINFO contradicts", at("IDINFO", 0, "q", 30)),
    "ids-first": ("IDINFO contradicts", at("IDINFO", 8, "q", 1)),
    "ids-form": ("IDINFO contradicts", at("IDINFO", 16, "I", 1)),
    "ids-info-missing": ("IDINFO is missing", without("IDINFO")),
    "ids-order": ("IDORDER contradicts", at("IDORDER", 0, "I", 0)),
    "ids-order-missing": ("IDORDER is missing", without("IDORDER")),
    "ids-info-unused": ("IDINFO does not belong", without("IDS")),
}


def _flipped(file: bytes) -> bytes:
    """Flip a bit of a section and leave its checksum."""
    data = bytearray(file)
    data[struct.unpack_from("<Q", data, entry_at(file, "MEAN") + 8)[0]] ^= 1
    return bytes(data)


def main() -> int:
    """Write what is missing; return the exit status."""
    FOLDER.mkdir(exist_ok=True)
    listing = FOLDER / "expected.json"
    expected = json.loads(listing.read_text()) if listing.exists() else {}
    cases = {base: CASES, of_1_5: CASES_OF_1_5, of_1_6: CASES_OF_1_6, of_1_7: CASES_OF_1_7}
    files = {name: make() for make, own in cases.items() for name in own}
    for name, (words, fault) in {
        name: case for own in cases.values() for name, case in own.items()
    }.items():
        path = FOLDER / f"{name}.wf"
        if path.exists():
            print(f"{path.name} exists and stays as it is", file=sys.stderr)
            continue
        path.write_bytes(fault(files[name]))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        expected[name] = {"message": words, "sha256": digest}
    listing.write_text(json.dumps(expected, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
