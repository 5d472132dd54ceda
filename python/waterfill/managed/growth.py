"""Rules by which an index follows its size: when it is trained, for how many vectors, and lists."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_TRAINING = 4096
"""Vectors from which a trained codec is better than rows.

Codecs of fewer vectors take more bytes than later ones, or miss their recall (docs/decisions/0034);
and up to here rows of float16 take no more memory than the tables of a codec and its codes.
"""
_LISTS_FROM = 20_000  # vectors; below it a search of all codes takes no longer than one of lists
_MOST_LISTS = 65_536
_DOUBLING_UP_TO = 100_000  # below it a new training takes a minute or two


@dataclass(frozen=True)
class Size:
    """What a codec is trained for.

    Attributes
    ----------
    meant_for : int
        Vectors up to which it serves.
    aim : int
        Number of vectors at which its codes alone reach the target.
    nlist : int
        Number of lists; 0: the codec's own cells, all of which are searched.
    """

    meant_for: int
    aim: int
    nlist: int


def size_for(n: int, *, with_rows: bool) -> Size:
    """Return what to train for, given the number of vectors.

    A codec serves until the collection has doubled, later until it has quadrupled, and is meant for
    the middle: rows rank the candidates, so that recall stays above the target beyond it. Without
    rows it is meant for the end, and comes seldom, since vectors keep the codes that they have.
    """
    times = 2 if with_rows and n < _DOUBLING_UP_TO else 4
    aim = round(n * times**0.5) if with_rows else times * n
    return Size(meant_for=times * n, aim=aim, nlist=lists_for(n))


def lists_for(n: int) -> int:
    """Return a number of lists: the power of two nearest to four times the root of n."""
    if n < _LISTS_FROM:
        return 0
    nlist = 1
    while nlist * 2 <= _MOST_LISTS and nlist * nlist * 2 <= 16 * n:
        nlist *= 2
    return nlist
