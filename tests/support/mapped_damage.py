"""Damages a file in many ways and maps it each time: a child process, which must not crash.

    python -m support.mapped_damage MODE FILE CODEC METRIC ROWS SEED COUNT

MODE is 'flips' for single bits with the checksums of before (COUNT 0: every bit), or 'repaired' for
random numbers in random sections with right checksums. CODEC is the file of a codec if FILE is a
segment, else '-'. Prints one JSON object: what was found.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from support.container import Container

import waterfill as wf
from waterfill import _core

ROOM = 512 << 20  # bytes of memory for all that follows the start
MARK = bytes(range(16))
IN_PLACE = (
    *("SCALE", "HIGH", "LOW", "EXTRA", "LISTOF", "LABLOW", "LABBITS", "LABSAMP"),
    *("IDS", "IDORDER", "ROWS"),
)
DERIVED = ("LISTS", "LABLOW", "LABBITS", "LABSAMP", "IDORDER", "LISTOF")
"""Sections that follow from others: no other content is valid."""


class Opener:
    """Maps a file that lies at one path."""

    def __init__(self, path: str, codec: str, metric: str, rows: str) -> None:
        self.path = path.encode()
        self.codec = None if codec == "-" else wf.read_codec(codec)
        self.metric = getattr(_core.Metric, metric)
        self.rows = None if rows == "-" else getattr(_core.RowKind, rows)

    def open(self, verify: bool, removed: tuple[int, ...] = ()) -> _core.Index:
        """Map the file; raise FormatError if it is found to be damaged."""
        if self.codec is None:
            return _core.map_index(self.path, verify)[0]
        core = _core.Index(self.codec._core, self.metric)
        if self.rows is not None:
            core.keep_refine_rows(self.rows)
        core.attach_segments([self.path], MARK, [np.array(removed, np.uint32)], verify)
        return core


def use(core: _core.Index, rng: np.random.Generator) -> None:
    """Call everything that reads; results may be wrong, but not beyond the index."""
    n, lists = core.size, len(core.list_sizes)
    queries = rng.standard_normal((2, core.codec.d)).astype("f4")
    if core.metric == _core.Metric.cosine:
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    rows = core.refine_row_kind is not None
    ids = core.ids(0, n)
    assert len(ids) == n
    assert core.codes(0, n).shape == (n, core.codec.code_size)
    core.codes(n // 2, n - n // 2)
    if rows:
        core.refine_rows(0, n)
    some = np.unique(ids[:9])
    core.find(np.concatenate([ids, [3, -7, 2**62]]), "rows" if rows else "codes")
    for program in (None, [("set", some)], [("range", -5, 40)], [("set", some), ("not",)]):
        for k, candidates, sigma in ((3, 6, 1.0), (n + 2, n + 2, float("inf"))):
            probes = None if lists == 1 else int(rng.integers(1, lists + 1))
            contents = str(rng.choice(["", "codes", "rows" if rows else "codes"]))
            refined = 2 * k if rows and rng.integers(2) else 0
            distances, found, _ = core.search(
                queries, k, candidates, 0, sigma, probes, program, refined, contents
            )
            assert not np.isnan(distances).any()
            # The label of a place may be that of a removed vector.
            assert len(core.removed_labels()) or np.isin(found, np.append(ids, -1)).all()
        core.range_search(queries, float(rng.choice([0.3, -np.inf, np.inf])), None, program)
    core.to_bytes(inverted=False, nprobe=0, target_recall=None, k_factor=1.0, quantizer=b"")


def change(core: _core.Index, rng: np.random.Generator) -> None:
    """Remove and append, as a folder does."""
    codes = np.zeros((3, core.codec.code_size), np.uint8)
    kept = None
    if core.refine_row_kind is not None:
        kept = _core.RefineRows(core.refine_row_kind, core.codec.d)
        kept.append(np.zeros((3, core.codec.d), "f4"), 0)
    ids = np.unique(core.ids(0, core.size)[::3])
    core.remove([("set", ids[::2].copy())])
    core.append(codes, np.array([5, 6, 7]), kept, [("set", ids)])
    use(core, rng)
    with open(os.devnull, "wb") as file:
        core.write_segment(file.fileno(), b"null", MARK, bool(rng.integers(2)))


def try_headers(opener: Opener, rng: np.random.Generator, n: int) -> str:
    """Map without verification, and use what opens."""
    removed = tuple(np.flatnonzero(rng.random(n) < 0.3).tolist()) if rng.integers(2) else ()
    try:
        core = opener.open(False, removed)
    except wf.FormatError:
        return "refused"
    use(core, rng)
    if opener.codec is not None:
        change(core, rng)
    return "used"


def spans(image: bytes) -> dict[str, tuple[int, int]]:
    """Return offset and size of each section."""
    container, result, at = Container.parse(image), {}, 64
    at += 32 * len(container.sections)
    for section in container.sections:
        at += -at % 64
        result[section.tag.rstrip(b"\0").decode()] = (at, len(section.data))
        at += len(section.data)
    return result


def flips(opener: Opener, image: bytes, rng: np.random.Generator, count: int, n: int) -> Counter:
    """Flip single bits: all of them, or a sample from every section and from the rest."""
    done: Counter = Counter()
    bits = np.arange(8 * len(image))
    if count:
        groups = [(0, 64 + 32 * len(spans(image))), *spans(image).values()]
        share = count // len(groups)
        picked = [rng.integers(8 * at, 8 * (at + size), share) for at, size in groups if size]
        bits = np.unique(np.concatenate([*picked, rng.integers(0, 8 * len(image), share)]))
    in_place = [spans(image)[tag] for tag in IN_PLACE if tag in spans(image)]
    with open(opener.path, "r+b", buffering=0) as file:
        for bit in bits.tolist():
            at, mask = bit // 8, 1 << bit % 8
            os.pwrite(file.fileno(), bytes([image[at] ^ mask]), at)
            try:
                opener.open(True)
                done["accepted"] += 1
            except wf.FormatError:
                done["refused"] += 1
            if any(start <= at < start + size for start, size in in_place):
                done[f"header {try_headers(opener, rng, n)}"] += 1
            os.pwrite(file.fileno(), image[at : at + 1], at)
    return done


NUMBERS = (0, 1, 2, 31, 64, 127, 128, 255, 2**16 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)


def repaired(opener: Opener, image: bytes, rng: np.random.Generator, count: int, n: int) -> Counter:
    """Change numbers of sections, and repair the checksums."""
    done: Counter = Counter()
    tags = [tag for tag in (*IN_PLACE, "LISTS", "IDINFO") if len(spans_of(image, tag))]
    for _ in range(count):
        file = Container.parse(image)
        for _ in range(int(rng.integers(1, 4))):
            tag = str(rng.choice(tags))
            data = file[tag].data
            size = min(int(rng.choice([1, 2, 4, 8])), len(data))
            at = int(rng.integers(0, len(data) // size)) * size
            old = int.from_bytes(data[at : at + size], "little")
            near = old + int(rng.integers(-4, 5))
            new = [int(rng.choice(256)), near, int(NUMBERS[rng.integers(len(NUMBERS))])]
            value = new[rng.integers(3)] % 256**size
            data[at : at + size] = value.to_bytes(size, "little")
        changed = [tag for tag in tags if bytes(file[tag].data) != spans_of(image, tag)]
        Path(os.fsdecode(opener.path)).write_bytes(file.to_bytes())
        try:
            opener.open(True)
            verdict = "accepted"
        except wf.FormatError:
            verdict = "refused"
        if changed and all(tag in DERIVED for tag in changed):
            verdict = f"contradiction {verdict}"
        done[verdict] += 1
        done[f"header {try_headers(opener, rng, n)}"] += 1
    return done


def spans_of(image: bytes, tag: str) -> bytes:
    """Return the contents of a section, empty if there is none."""
    at, size = spans(image).get(tag, (0, 0))
    return image[at : at + size]


def main() -> None:
    """Run as the docstring of the module says."""
    mode, path, codec, metric, rows, seed, count = sys.argv[1:]
    wf.set_num_threads(1)
    opener, rng = Opener(path, codec, metric, rows), np.random.default_rng(int(seed))
    image = Path(path).read_bytes()
    intact = opener.open(True)
    use(intact, rng)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    run = flips if mode == "flips" else repaired
    print(json.dumps(run(opener, image, rng, int(count), intact.size)))


if __name__ == "__main__":
    main()
