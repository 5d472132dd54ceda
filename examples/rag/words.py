"""Word overlap of a question and a passage, weighted by rarity."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

_WORD = re.compile(r"[^\W_]+")
_ENDINGS = ("ing", "ed", "es", "s", "e")
_STOP_TEXT = """
a about all am an and any are as at be been but by can could did do does for from get had has
have how i if in into is it its many may me more most much must my no not of on one or our shall
should so some such than that the their them then there these they this to up us was we were
what when where which while who whom whose why will with would you your
"""
_STOP_WORDS = frozenset(_STOP_TEXT.split())


def stems(text: str) -> set[str]:
    """Return the words of a text in lower case, roughly stemmed.

    Parameters
    ----------
    text : str

    Returns
    -------
    set of str
    """
    return {_stem(word) for word in _WORD.findall(text.casefold())}


def question_stems(question: str) -> set[str]:
    """Return the stems of a question without stop words.

    Parameters
    ----------
    question : str

    Returns
    -------
    set of str
        All of its stems if every word is a stop word.
    """
    words = _WORD.findall(question.casefold())
    return {_stem(word) for word in words if word not in _STOP_TEXT} or set(map(_stem, words))


def frequencies(texts: Iterable[str]) -> dict[str, int]:
    """Return the number of texts that contain each stem.

    Parameters
    ----------
    texts : iterable of str

    Returns
    -------
    dict of str to int
    """
    return dict(Counter(word for text in texts for word in stems(text)))


def overlap(question: set[str], text: str, known: Mapping[str, int], texts: int) -> float:
    """Return the share of a question's words that a text contains, from 0 to 1.

    Words are weighted by inverse document frequency. A word that no text contains has the largest
    weight, because nothing here answers it.

    Parameters
    ----------
    question : set of str
        As `question_stems` returns them.
    text : str
    known : mapping of str to int
        Number of texts that contain each word.
    texts : int
        Number of texts.

    Returns
    -------
    float
    """
    weights = {word: math.log((texts + 1) / (known.get(word, 0) + 1)) for word in question}
    total = sum(weights.values())
    return sum(weights[word] for word in question & stems(text)) / total if total else 0.0


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
