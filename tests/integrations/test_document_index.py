"""Documents with vectors in a folder, without any host: what is promised of each change."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray
from support.documents import D, ids, named

import waterfill as wf
from waterfill.integrations import document_table
from waterfill.integrations.document_index import DocumentIndex
from waterfill.integrations.document_table import FILE, StoredDocument

METRICS = ("l2", "ip", "cosine")


@pytest.fixture(scope="module")
def rows_codec(rows: Any) -> wf.Codec:
    return wf.Recipe(D, 8, effort="fast").train(rows, "cosine")


@pytest.fixture(params=["managed", "codec"])
def options(request: pytest.FixtureRequest, rows_codec: wf.Codec) -> dict[str, Any]:
    """Of a folder that trains its own codec, and of one that is given it."""
    return {"codec": rows_codec} if request.param == "codec" else {}


def exact_order(rows: NDArray[Any], query: NDArray[Any], metric: str) -> list[int]:
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.argsort(((rows - query) ** 2).sum(axis=1)).tolist()
    norms = np.linalg.norm(rows, axis=1) if metric == "cosine" else 1
    return np.argsort(-(rows @ query) / norms).tolist()


def test_removed_documents_leave_no_bytes(rows: Any, options: Any, tmp_path: Path) -> None:
    secret = "of which nothing must be left"
    with DocumentIndex(tmp_path, **options) as documents:
        texts = named(range(300))
        texts[7].content = texts[8].metadata["note"] = secret
        documents.put(texts, list(rows[:300]))
        documents.remove(["id 7", "id 8"])
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in files if secret.encode() in file.read_bytes()]


@pytest.mark.parametrize("metric", METRICS)
def test_answers_are_exact_from_the_first_document_on(rows: Any, metric: Any) -> None:
    with DocumentIndex(metric=metric) as documents:
        assert documents.index is None
        assert documents.search(rows[0], 5) == []
        documents.put(named(range(1)), list(rows[:1]))
        assert ids(documents.search(rows[500], 5)) == ["id 0"]
        documents.put(named(range(1, 400)), list(rows[1:400]))
        assert documents.index is not None
        assert documents.index.health().phase == "exact"
        for query in rows[500:520]:
            found = documents.search(query, 5)
            assert ids(found) == [f"id {n}" for n in exact_order(rows[:400], query, metric)[:5]]
            falling = [one.score if metric == "l2" else -one.score for one in found]
            assert falling == sorted(falling)


def test_a_codec_is_trained_when_there_is_enough_to_learn_from(base: Any, tmp_path: Path) -> None:
    vectors = list(base[:4200])
    with DocumentIndex(tmp_path, code_bytes=24, background="off") as documents:
        documents.put(named(range(4200)), vectors)
        before = [documents.search(query, 5) for query in vectors[:20]]
        assert documents.index is not None
        assert next(event.what for event in documents.index.maintain()) == "trained"
        assert documents.index.health().phase == "coded"
        after = [documents.search(query, 5) for query in vectors[:20]]
        same = [len({*ids(a)} & {*ids(b)}) for a, b in zip(before, after, strict=True)]
        assert np.mean(same) > 4
        assert len(documents.search(vectors[0], 4300)) == 4200
        documents.put(named([7]), [base[4500]])
        assert ids(documents.search(base[4500], 1)) == ["id 7"]
    foreign = list(base[:64, np.random.default_rng(0).permutation(384)])
    with DocumentIndex(tmp_path, background="off") as documents:
        with pytest.raises(ValueError, match="open the store with new_model=True"):
            documents.put(named(range(64)), foreign)
        assert documents.index is not None
        assert len(documents) == documents.index.ntotal == 4200
        assert ids(documents.search(base[3], 1)) == ["id 3"]
    with DocumentIndex(tmp_path, background="off", new_model=True) as documents:
        documents.put(named(range(64)), foreign)
        assert len(documents) == 4200
        assert ids(documents.search(foreign[3], 1)) == ["id 3"]


def test_what_is_asked_for_can_change(rows: Any, tmp_path: Path) -> None:
    with DocumentIndex(tmp_path, target_recall=0.8) as documents:
        pass
    with DocumentIndex(tmp_path, code_bytes=6) as documents:
        documents.put(named(range(20)), list(rows[:20]))
        assert "codes of 6 bytes" in documents.index.health().asked_for
    with DocumentIndex(tmp_path) as documents:
        assert "codes of 6 bytes" in documents.index.health().asked_for
    with DocumentIndex(tmp_path, target_recall=0.95) as documents:
        assert "0.95" in documents.index.health().asked_for
        assert ids(documents.search(rows[3], 1)) == ["id 3"]
    with DocumentIndex(tmp_path, "r") as reader:
        assert "0.95" in reader.index.health().asked_for


def test_a_selection_is_searched_whole(rows: Any, options: dict[str, Any]) -> None:
    with DocumentIndex(**options) as documents:
        documents.put(named(range(200)), list(rows[:200]))
        chosen = documents.select(lambda one: one.metadata["n"] % 50 == 7, "7")
        assert {*ids(documents.search(rows[0], 10, chosen))} == {
            "id 7",
            "id 57",
            "id 107",
            "id 157",
        }
        documents.remove(["id 57"])
        assert len(documents.select(lambda one: one.metadata["n"] % 50 == 7, "7")) == 3
        nothing = documents.select(lambda one: False)
        assert documents.search(rows[0], 10, nothing) == []
        with_content = documents.select(lambda one: one.content == "text 3", contents=True)
        assert ids(documents.search(rows[0], 10, with_content)) == ["id 3"]


class Changes(RuleBasedStateMachine):
    """Changes in any order, against a dict; with a codec or without."""

    numbers = st.lists(st.integers(0, 25), max_size=12)

    @initialize(coded=st.booleans(), metric=st.sampled_from(METRICS))
    def start(self, coded: bool, metric: Any) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.coded, self.metric = coded, metric
        self.documents = self.opened()
        self.model: dict[str, tuple[str, Any]] = {}
        self.random = np.random.default_rng(0)

    def opened(self) -> DocumentIndex:
        # Codes without a sample, for norms as those below; rows re-rank, so all are found.
        norms = (1, 1) if self.metric == "cosine" else (0.01, 100)
        codec = wf.Codec.universal(4, 2, metric=self.metric, norms=norms) if self.coded else None
        return DocumentIndex(self.folder.name, metric=self.metric, codec=codec)

    @rule(numbers=numbers, text=st.text("ab\0é\n", max_size=3), bare=st.booleans())
    def put(self, numbers: list[int], text: str, bare: bool) -> None:
        vectors = [
            None if bare and n % 3 == 0 else self.random.standard_normal(4).astype("f4")
            for n in numbers
        ]
        new = [StoredDocument(f"{n}", text, {"n": n}) for n in numbers]
        self.documents.put(new, vectors)
        self.model |= {one.id: (text, v) for one, v in zip(new, vectors, strict=True)}

    @rule(numbers=numbers)
    def remove(self, numbers: list[int]) -> None:
        gone = {f"{n}" for n in numbers} & {*self.model}
        assert self.documents.remove([f"{n}" for n in numbers]) == len(gone)
        for id in gone:
            del self.model[id]

    @rule()
    def clear(self) -> None:
        self.documents.clear()
        self.model.clear()

    @rule()
    def open_again(self) -> None:
        self.documents.close()
        self.documents = self.opened()

    @invariant()
    def all_is_found(self) -> None:
        if not hasattr(self, "documents"):
            return
        stored = {one.id: one for one in self.documents.table.scan()}
        assert {id: one.content for id, one in stored.items()} == {
            id: text for id, (text, _) in self.model.items()
        }
        having = {id for id, (_, vector) in self.model.items() if vector is not None}
        assert {id for id, one in stored.items() if one.embedded} == having
        found = self.documents.search(np.ones(4), 100) if having else []
        assert sorted(ids(found)) == sorted(having)
        vectors = self.documents.vectors(list(stored.values()))
        for id in having:
            kept, given = vectors[stored[id].number], self.model[id][1]
            np.testing.assert_allclose(kept, given, rtol=2e-3, atol=2e-3)

    def teardown(self) -> None:
        if hasattr(self, "documents"):
            self.documents.close()
            self.folder.cleanup()


TestChanges = Changes.TestCase
TestChanges.settings = settings(stateful_step_count=12, max_examples=40)


# Several processes.


def test_a_reader_follows_the_writer(rows: Any, tmp_path: Path) -> None:
    with DocumentIndex(tmp_path) as writer:
        with DocumentIndex(tmp_path, "r") as reader:
            assert reader.search(rows[0], 3) == []
            writer.put(named(range(40)), list(rows[:40]))
            assert ids(reader.search(rows[7], 1)) == ["id 7"]
            writer.put(named(range(40, 60)), list(rows[40:60]))
            assert reader.index is not None
            writer.put(named([7]), [rows[100]])
            assert ids(reader.search(rows[100], 1)) == ["id 7"]
            assert len(reader.search(rows[0], 100)) == 60
            (one,) = reader.table.by_id(["id 7"]).values()
            np.testing.assert_allclose(reader.vectors([one])[one.number], rows[100], atol=1e-3)
            with pytest.raises(ValueError, match="mode='a'"):
                reader.put(named([1]), [rows[1]])
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()} has the folder open"):
            DocumentIndex(tmp_path)
    DocumentIndex(tmp_path).close()


def test_a_folder_that_cannot_be_written_is_read(
    rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DocumentIndex(tmp_path) as documents:
        documents.put(named(range(20)), list(rows[:20]))
    assert not (tmp_path / f"{FILE}-wal").exists()
    # Modes of files do not bind root, which may run this.
    monkeypatch.setattr(document_table.os, "access", lambda *_: False)
    before = sorted(os.listdir(tmp_path))
    with DocumentIndex(tmp_path, "r") as reader:
        assert ids(reader.search(rows[3], 1)) == ["id 3"]
        assert sorted(os.listdir(tmp_path)) == before
    (tmp_path / f"{FILE}-wal").write_bytes(b"changes")
    with pytest.raises(PermissionError, match="a crash has left changes"):
        DocumentIndex(tmp_path, "r")


def test_a_forked_child_must_open_the_folder_itself(rows: Any, tmp_path: Path) -> None:
    with DocumentIndex(tmp_path) as documents:
        documents.put(named(range(3)), list(rows[:3]))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                documents.search(rows[0], 1)
            except ValueError as error:
                status = 0 if "before a fork" in str(error) else 2
            del documents
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert ids(documents.search(rows[1], 1)) == ["id 1"]


def test_a_temporary_folder_goes_with_the_object(rows: Any) -> None:
    documents = DocumentIndex()
    documents.put(named(range(3)), list(rows[:3]))
    path = documents.path
    assert os.path.isdir(path)
    del documents
    assert not os.path.exists(path)


def test_a_copy_has_all_of_it_and_goes_its_own_way(
    rows: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    with DocumentIndex(tmp_path / "old", **options) as documents:
        documents.put(named(range(30)), list(rows[:30]))
        documents.copy_to(tmp_path / "deep" / "new")
        documents.put(named([5]), [rows[77]])
        with pytest.raises(FileExistsError):
            documents.copy_to(tmp_path / "deep" / "new")
    with DocumentIndex(tmp_path / "deep" / "new") as copy:
        assert len(copy) == 30
        assert ids(copy.search(rows[5], 1)) == ["id 5"]
        copy.remove(["id 6"])
    assert os.listdir(tmp_path / "deep") == ["new"]
    with DocumentIndex(tmp_path / "old", "r") as old:
        assert len(old) == 30


def test_searches_find_all_while_documents_are_written_again(
    rows: Any, options: dict[str, Any]
) -> None:
    with DocumentIndex(**options) as documents:
        documents.put(named(range(30)), list(rows[:30]))
        done = threading.Event()
        found: list[list[str]] = []

        def search() -> None:
            while not done.is_set():
                found.append(ids(documents.search(rows[0], 30)))

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        for n in range(120):
            documents.put(named(range(n % 20, n % 20 + 10)), list(rows[n : n + 10]))
        done.set()
        for thread in threads:
            thread.join()
        everything = sorted(f"id {n}" for n in range(30))
        assert found
        assert all(sorted(one) == everything for one in found)


# Bad input.


def test_bad_vectors_change_nothing(rows: Any) -> None:
    with DocumentIndex(metric="l2") as documents:
        documents.put(named(range(10)), list(rows[:10]))
        far = rows[0] * np.float32(1e9)
        for vector, message in [
            (rows[0, :5], r"vectors: expected 16 dimensions.*got 5; embed with the model"),
            (rows[0] * np.nan, r"vectors: row 0 has a NaN"),
            (far, r"vectors: row 0 \(beyond float16\)"),
        ]:
            with pytest.raises(ValueError, match=message):
                documents.put(named([1]), [vector])
        with pytest.raises(ValueError, match=r"vectors: expected all of 16 dimensions, got"):
            documents.put(named([1, 2]), [rows[0], rows[0, :5]])
        with pytest.raises(ValueError, match="vectors: expected 2, one per document, got 1"):
            documents.put(named([1, 2]), [rows[0]])
        with pytest.raises(ValueError, match="query: expected 16 dimensions, got 3"):
            documents.search([1, 2, 3], 1)
        with pytest.raises(ValueError, match="k=0 must be at least 1"):
            documents.search(rows[0], 0)
        assert len(documents) == 10
        assert ids(documents.search(rows[1], 1)) == ["id 1"]


@pytest.mark.parametrize(
    "value", [{1, 2}, (1, 2), {"a": {1: 2}}, float("nan"), object(), b"x", np.float32(1)]
)
def test_metadata_that_json_does_not_hold_are_refused(rows: Any, value: Any) -> None:
    with DocumentIndex() as documents:
        with pytest.raises(ValueError, match=r"metadata: expected values that JSON holds, got 'x'"):
            documents.put([StoredDocument("1", "", {"x": value})], [rows[0]])
        assert len(documents) == 0
        with pytest.raises(ValueError, match="JSON holds, got 3"):
            documents.put([StoredDocument("1", "", {3: 1})], [rows[0]])  # type: ignore[dict-item]
        fine = {"x": [1, 2.5, None, True, {"y": "é\ud800"}]}
        documents.put([StoredDocument("1", "", fine)], [rows[0]])
        assert documents.table.by_id(["1"])["1"].metadata == fine


def test_text_must_be_text(rows: Any) -> None:
    with DocumentIndex() as documents:
        with pytest.raises(TypeError, match="ids: expected str, got int"):
            documents.put([StoredDocument(1, "")], [rows[0]])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="texts: expected str, got NoneType"):
            documents.put([StoredDocument("1", None)], [rows[0]])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="texts: expected text of Unicode, got half"):
            documents.put([StoredDocument("1", "\ud800")], [rows[0]])


def test_arguments_must_go_with_the_folder(rows: Any, tmp_path: Path, codec: wf.Codec) -> None:
    path = tmp_path / "documents"
    with pytest.raises(FileNotFoundError):
        DocumentIndex(path, "r")
    with DocumentIndex(path, metric="ip") as documents:
        documents.put(named(range(3)), list(rows[:3]))
    with pytest.raises(ValueError, match="metric: expected 'ip', as the folder has, got 'l2'"):
        DocumentIndex(path, metric="l2")
    with pytest.raises(ValueError, match="codec: a managed folder chooses it"):
        DocumentIndex(path, codec=codec)
    for arguments, message in [
        ({"mode": "w"}, "mode='w'"),
        ({"metric": "l3"}, "metric='l3'"),
        ({"code_bytes": 0}, "code_bytes=0"),
        ({"target_recall": 2}, "target_recall=2"),
        ({"target_recall": 0.9, "code_bytes": 8}, "expected one of them, got both"),
        ({"codec": codec, "code_bytes": 8}, "the codec decides"),
        ({"keep_rows": "float64"}, "keep_rows="),
        ({"background": 2}, "background=2"),
    ]:
        with pytest.raises(ValueError, match=message):
            DocumentIndex(path, **arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="train_size: expected one of background, code_bytes"):
        DocumentIndex(path, train_size=10)  # type: ignore[call-arg]
    wf.open_index(tmp_path / "plain", "a", codec=codec).close()
    with pytest.raises(ValueError, match="got an index in a folder"):
        DocumentIndex(tmp_path / "plain")
    documents = DocumentIndex(path)
    documents.close()
    with pytest.raises(ValueError, match="are closed; open them again"):
        documents.search(rows[0], 1)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(wf.FormatError, match="damaged"):
        DocumentIndex(tmp_path)
    (tmp_path / FILE).unlink()
    other = sqlite3.connect(tmp_path / FILE)
    other.execute("CREATE TABLE x (y)")
    other.close()
    with pytest.raises(wf.FormatError, match="expected documents of waterfill"):
        DocumentIndex(tmp_path)
