"""The example in examples/rag, run for real over the pages in docs/."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "rag"
DOCS = Path(__file__).parents[2] / "docs"
PATIENCE = 120

pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="an installed package has no examples")

KNOWN = {
    "What happens to a permit that nobody releases?": "serving.md",
    "How do I swap an index while searches go on?": "lifecycle.md",
    "What does a batcher do when a task is cancelled?": "batching.md",
    "Which rows are refused as bad input?": "bad-input.md",
    "Can FAISS read an exported index?": "faiss-export.md",
    "What does the Haystack store write to disk?": "stores.md",
    "How near is the scan to memory bandwidth?": "roofline.md",
    "How do eight workers share a limit?": "serving.md",
    "Which exit status does the command have on an error?": "cli.md",
}
ELSEWHERE = [
    "How do I bake a chocolate cake?",
    "What is the capital of France?",
    "Who wrote War and Peace?",
]


def run(*arguments: object, given: str = "", status: int = 0) -> str:
    """Run the command as a user does; return what it prints, errors after it."""
    done = subprocess.run(
        [sys.executable, EXAMPLE / "rag.py", *map(str, arguments)],
        input=given,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What `index` wrote and said."""
    folder = tmp_path_factory.mktemp("rag")
    for page in DOCS.glob("*.md"):  # without the decision pages
        shutil.copy(page, folder)
    out = folder / "docs.rag"
    return out, run("index", folder, "--out", out)


@pytest.fixture
def rag(monkeypatch):
    """Modules of the example, by name."""
    monkeypatch.syspath_prepend(EXAMPLE)
    names = ("embedding", "words", "passages", "library", "rag")
    yield {name: __import__(name) for name in names}
    for name in names:
        sys.modules.pop(name)


def test_it_says_what_compressing_saves(made):
    _, said = made
    assert "times smaller" in said
    kept = float(said.split(" among the 80")[0].split()[-1])
    assert kept > 9.9  # of ten


def test_known_questions_get_the_right_file_first(made):
    folder, _ = made
    answers = run("ask", folder, "-", "--most", 1, given="\n".join(KNOWN))
    places = [line.split()[0] for line in answers.splitlines() if line.startswith("    ")]
    assert [place.split(":")[0] for place in places] == list(KNOWN.values())


def test_the_named_line_has_the_sentence(made):
    folder, _ = made
    sentence, place = run("ask", folder, "--most", 1, next(iter(KNOWN))).splitlines()
    file, line = place.split()[0].split(":")
    assert (DOCS / file).read_text(encoding="utf-8").splitlines()[int(line) - 1] in sentence


def test_nothing_relevant_is_said_to_be_so(made):
    folder, _ = made
    answers = run("ask", folder, "-", given="\n\n".join(ELSEWHERE))
    assert answers.splitlines() == ["Nothing here seems to be about that."] * len(ELSEWHERE)


def test_a_prompt_has_numbered_sources_and_the_question(made):
    folder, _ = made
    question = "How do eight workers share a limit?"
    prompt = run("ask", folder, question, "--prompt", "--most", 2)
    assert "[1] serving.md:" in prompt
    assert "[2] " in prompt
    assert "Eight workers with a limit of 12 admit 96 requests together." in prompt
    assert prompt.rstrip().endswith(f"Question: {question}")


def test_mistakes_are_told_in_a_line(made, tmp_path):
    folder, _ = made
    (tmp_path / "one.md").write_text("One passage alone.", encoding="utf-8")
    for arguments, told in (
        (("index", tmp_path / "none", "--out", tmp_path / "out"), "is not a folder"),
        (("index", tmp_path, "--out", tmp_path / "out"), "too few"),
        (("ask", tmp_path, "what?"), "is not a folder written by 'index'"),
        (("ask", folder, "what?", "--most", "0"), "at least 1"),
    ):
        said = run(*arguments, status=2 if "--most" in arguments else 1)
        assert told in said
        assert "Traceback" not in said


def test_compressed_candidates_lose_hardly_an_answer(made, rag, monkeypatch):
    """The passages are our pages, so which answer is at the edge of 80 candidates changes."""
    folder, _ = made
    library = rag["library"].Library.read(folder, rag["embedding"].Embedder())
    compressed = [library.ask(question) for question in KNOWN]
    monkeypatch.setattr(rag["library"], "CANDIDATES", len(library.passages))
    exact = [library.ask(question) for question in KNOWN]
    assert [answers[0] for answers in compressed] == [answers[0] for answers in exact]
    pairs = list(zip(compressed, exact, strict=True))
    found = sum(answer in some for some, all_of_them in pairs for answer in all_of_them)
    assert found >= 0.95 * sum(map(len, exact))


@pytest.mark.parametrize("name", ["a.md", "a.txt"])
def test_passages_are_the_lines_that_they_name(rag, name):
    lines = ["# Title", "", "First paragraph,", "of two lines.", "", "```", "# no heading", "```"]
    lines += ["word " * 30 for _ in range(12)] + ["", "## Below", "", "Last. And more of it."]
    found = rag["passages"].read_text("\n".join(lines), name)
    for one in found:
        assert one.text.split("\n") == lines[one.first - 1 : one.last]
        for line, sentence in rag["passages"].sentences(one):
            assert sentence.split()[0] in lines[line - 1]
    headings = {one.heading for one in found}
    assert headings == ({"Title", "Title > Below"} if name == "a.md" else {""})
    covered = {line for one in found for line in range(one.first, one.last + 1)}
    assert all(
        number in covered or not text.strip() or text.startswith("#")
        for number, text in enumerate(lines, 1)
        if name == "a.md"
    )


def test_docstrings_have_names_and_lines(rag):
    text = (
        'class A:\n    """About A."""\n\n    def f(self):\n        """Do it.\n\n        And more.\n'
    )
    found = rag["passages"].read_text(text + '        """\n', "m.py")
    assert [(one.heading, one.first) for one in found] == [("A", 2), ("A.f", 5)]
    assert rag["passages"].read_text("def (", "broken.py") == []


def test_logging_is_left_as_it_was(made):
    script = (
        "import logging, sys; sys.path.insert(0, sys.argv[1]); import embedding; "
        "embedding.Embedder(); print(logging.root.handlers, logging.root.level)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, EXAMPLE],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout.split() == ["[]", "30"], done.stderr
