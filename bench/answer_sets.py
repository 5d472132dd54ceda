"""Labelled retrieval from registry packages: documents, queries, and which document answers which.

``docs/answers.md`` describes the sets. Vectors are kept in the cache folder of ``datasets.py``.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasets
import numpy as np
from embedders import Array, Embed, MiniLM, MPNet, wordllama
from packages import (
    PACKAGES,
    DatasetError,
    fetch,
    require,
    sha256,
    shuffle_key,
    wordnet_senses,
    wordnet_texts,
)

from waterfill.evaluation import Judgements

QUERIES = 2000
TRAINING_QUERIES = 10_000
_FOLDOC = "dict-foldoc", "20230119-1"
_FOLDOC_FILES = {
    "foldoc.dict.dz": "f3476f455be35c3301a4dfe5406d74854d0b992bc49f4cd1737f779c99e0178f",
    "foldoc.index": "35d0d990bba9f6c314395f1dda40e32ad22d14b9ab032c0e58bcebdf6b845efc",
}
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_MOST_WORDS, _LEAST_WORDS = 80, 5
_TEXTS_OF_MPNET = 32_000


@dataclass(frozen=True)
class Texts:
    """Documents, queries, and the documents that answer each query.

    `training` are further queries, for codes that are fitted to queries.
    """

    documents: Sequence[str]
    queries: Sequence[str]
    answers: Sequence[frozenset[int]]
    training: Sequence[str] = ()


@dataclass(frozen=True)
class LabelledSet:
    """Texts and the model that embeds them; `limit` is the number of WordNet texts to use."""

    name: str
    title: str
    model: str
    texts: Callable[[Path], Texts]
    metric: str = "ip"


@dataclass(frozen=True)
class Vectors:
    """Vectors of a labelled set, float32, and its judgements."""

    base: Array
    queries: Array
    training: Array
    judgements: Judgements


def _grouped(
    pairs: Iterable[tuple[str, str]], keep: Callable[[str], bool] = lambda text: True
) -> Texts:
    """Make a set of (query, document) pairs; texts that differ only in case are one."""
    documents: dict[str, int] = {}
    texts: list[str] = []
    answers: dict[str, set[int]] = {}
    spelled: dict[str, str] = {}
    for query, document in pairs:
        if document.casefold() not in documents:
            documents[document.casefold()] = len(texts)
            texts.append(document)
        if query and keep(query):
            spelled.setdefault(query.casefold(), query)
            answers.setdefault(query.casefold(), set()).add(documents[document.casefold()])
    order = sorted((q for q in answers if q not in documents), key=shuffle_key)
    asked = order[:QUERIES]
    return Texts(
        texts,
        [spelled[query] for query in asked],
        [frozenset(answers[query]) for query in asked],
        [spelled[query] for query in order[QUERIES : QUERIES + TRAINING_QUERIES]],
    )


def _examples(cache: Path, limit: int | None = None) -> Texts:
    """Return sentences of WordNet, each with the definitions of the senses that it illustrates."""
    known = {text.casefold() for text in wordnet_texts(cache)[:limit]}

    def pairs() -> Iterator[tuple[str, str]]:
        for _, definition, examples in wordnet_senses(cache):
            if definition.casefold() in known:
                yield "", definition
                yield from ((each, definition) for each in examples)

    return _grouped(pairs(), lambda text: text.casefold() in known)


def _words(cache: Path, limit: int | None = None) -> Texts:
    """Return words and set phrases of WordNet, each with the definitions of its senses."""
    known = {text.casefold() for text in wordnet_texts(cache)[:limit]}
    senses = (each for each in wordnet_senses(cache) if each[1].casefold() in known)
    return _grouped((word, definition) for words, definition, _ in senses for word in words)


def _questions(cache: Path) -> Texts:
    """Return questions and what is said to them, of the English part of chatterbot-corpus."""
    yaml = require("yaml")
    files = fetch(PACKAGES["chatterbot"], cache)
    pairs = []
    for path in sorted(files.values()):
        for turns in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            said = [" ".join(str(turn).split()) for turn in turns[:2]]
            if len(said) == 2 and all(said):
                pairs.append((said[0], said[1]))
    return _grouped(pairs)


def _foldoc(cache: Path) -> Texts:
    """Return terms of computing and their definitions, without the terms, of FOLDOC."""
    folder = _foldoc_files(cache)
    data = gzip.decompress((folder / "foldoc.dict.dz").read_bytes())
    pairs = []
    for line in (folder / "foldoc.index").read_text(encoding="utf-8").splitlines():
        term, start, size = line.split("\t")
        first = _number(start)
        definition = _definition(data[first : first + _number(size)].decode("utf-8", "replace"))
        if not term.startswith("00-database") and len(definition.split()) >= _LEAST_WORDS:
            pairs.append((term, definition))
    return _grouped(pairs)


def _foldoc_files(cache: Path) -> Path:
    """Download Debian's package with apt, and keep its two files."""
    name, version = _FOLDOC
    folder = cache / "packages" / f"{name}-{version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
            command = ["apt-get", "download", "--quiet", f"{name}={version}"]
            done = subprocess.run(command, cwd=temporary, capture_output=True, text=True)
            if done.returncode:
                raise DatasetError(f"cannot download {name} {version}: {done.stderr.strip()}")
            archive = next(Path(temporary).glob("*.deb"))
            subprocess.run(["dpkg", "-x", archive, Path(temporary, "all")], check=True)
            kept = Path(temporary, "kept")
            kept.mkdir()
            for file, digest in _FOLDOC_FILES.items():
                found = next(Path(temporary, "all").rglob(file))
                if sha256(found) != digest:
                    raise DatasetError(f"{name} {version} has no {file} with the pinned SHA-256")
                found.rename(kept / file)
            kept.rename(folder)
    return folder


def _number(text: str) -> int:
    """Return a number of dictd's index, in base 64."""
    number = 0
    for digit in text:
        number = 64 * number + _BASE64.index(digit)
    return number


def _definition(entry: str) -> str:
    """Return an entry without its terms, marks of links, sources and date."""
    lines = entry.splitlines()
    body = " ".join(line for line in lines if line.startswith((" ", "\t")))
    body = re.sub(r"\[[^\]]*\]|\(\d{4}-\d\d-\d\d\)|<[^>]*>|[{}]", " ", body)
    return " ".join(body.split()[:_MOST_WORDS])


SETS = (
    LabelledSet("examples-minilm", "Sentence to the definition of its sense", "minilm", _examples),
    LabelledSet("words-minilm", "Word to its definitions", "minilm", _words),
    LabelledSet("foldoc-minilm", "Term of computing to its article", "minilm", _foldoc),
    LabelledSet("questions-minilm", "Question to its answer", "minilm", _questions),
    LabelledSet(
        "examples-mpnet",
        "Sentence to the definition of its sense",
        "mpnet",
        partial(_examples, limit=_TEXTS_OF_MPNET),
    ),
    LabelledSet(
        "examples-wordllama",
        "Sentence to the definition of its sense",
        "wordllama",
        _examples,
        "cosine",
    ),
)


def vectors(labelled: LabelledSet, cache: Path) -> Vectors:
    """Embed a set, or read its vectors from the cache."""
    texts = labelled.texts(cache)
    base, queries, training = (
        _embedded(labelled.model, each, cache)
        for each in (texts.documents, texts.queries, texts.training)
    )
    triples = [
        (str(query), str(document), 1.0)
        for query, answers in enumerate(texts.answers)
        for document in sorted(answers)
    ]
    rows = [[str(row) for row in range(len(part))] for part in (queries, base)]
    return Vectors(base, queries, training, Judgements.of(triples, *rows))


def _embedded(model: str, texts: Sequence[str], cache: Path) -> Array:
    """Embed texts; those of WordNet that datasets.py has embedded are taken from there."""
    digest = hashlib.sha256("\n".join([model, *texts]).encode()).hexdigest()[:16]
    path = cache / "answers" / f"{model}-{digest}.npy"
    if not path.exists():
        made = _looked_up(model, texts, cache)
        if made is None:
            made = _model(model, cache)(texts, lambda n: None) if texts else np.empty((0, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}")
        with part.open("wb") as stream:
            np.save(stream, made.astype(np.float16))
        part.replace(path)
    found: Array = np.load(path).astype(np.float32)
    return found


def _looked_up(model: str, texts: Sequence[str], cache: Path) -> Array | None:
    """Return vectors of texts that are all among those of a set of datasets.py, or None."""
    spec = datasets.find_spec(model)
    limit = _TEXTS_OF_MPNET if model == "mpnet" else None
    rows = {text.casefold(): row for row, text in enumerate(wordnet_texts(cache)[:limit])}
    if not texts or any(text.casefold() not in rows for text in texts):
        return None
    return datasets.text_vectors(spec, cache, [rows[text.casefold()] for text in texts])


def _model(model: str, cache: Path) -> Embed:
    files = fetch(PACKAGES[model], cache)
    if model == "wordllama":
        return wordllama(files)
    return (MPNet if model == "mpnet" else MiniLM)(files).embed
