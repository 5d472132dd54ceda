"""How deep an index searches: the settings of its stages, chosen at training or set."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from waterfill import _core
from waterfill._util.validation import Metric, as_number, as_positive_int
from waterfill.codec import Codec
from waterfill.index.collection import Collection
from waterfill.index.recall_warnings import DEFAULT_K_FACTOR, warn_of_k_factor
from waterfill.index.search_parameters import SearchParameters
from waterfill.plan import Plan
from waterfill.recipe import Recipe

_SIGMA_GROWTH = 1.5  # 2 where nothing else changes; but what a candidate must score rises, too
_FEW_READS = 1 << 22  # nibbles that cost less to read than the full scores which they save
_MANY_CANDIDATES = 256  # whose rows cost more to read than these nibbles
MOST_CANDIDATES = 1 << 32
"""An index holds no more vectors."""


class Depth(NamedTuple):
    """What one search asks of the core."""

    candidates: int  # of the coarse stage
    exact: int  # of these, for scores by rows
    coarse_groups: int
    prune_sigma: float
    lists: int | None  # per query; None: all vectors


class SearchDepth(Collection):
    """The settings of a search that trade speed for recall."""

    _least_candidates = 100  # for small k
    _k_factor_is_default = False
    _list_setting: tuple[int | None, float | None] = None, None
    """`nprobe`, or the target recall that it follows, of an index with lists."""

    _last_depth: tuple[tuple[Any, ...], Depth] | None = None

    def __init__(
        self, source: Codec | Plan | Recipe, metric: Metric | int, refine: Any, k_factor: float
    ) -> None:
        super().__init__(source, metric, refine)
        self._given: dict[str, Any] = {}  # settings that are not left to the codec
        self._chosen: dict[str, Any] = {}  # the codec's, as they are asked for; replaced with it
        self.k_factor = k_factor
        self._k_factor_is_default = k_factor == DEFAULT_K_FACTOR

    def _setting(self, name: str) -> Any:
        """Return what was set, or else what training chose."""
        if name in self._given:
            return self._given[name]
        chosen = self._chosen  # another one after a change of the codec
        if name not in chosen:
            self._trained()
            assert self._codec is not None
            chosen[name] = getattr(self._codec, name)["l2" if self._metric == "l2" else "ip"]
        return chosen[name]

    @property
    def prune_sigma(self) -> float:
        """Standard deviations of a product beyond which a cell is skipped.

        What training chose holds for as many vectors as it saw. The best of more are farther out in
        the tail of a normal distribution: its square rises with the logarithm of their ratio.
        """
        if "prune_sigma" in self._given:
            return float(self._given["prune_sigma"])
        core = self._trained()
        sigma = float(self._setting("prune_sigma"))
        return sigma_for(sigma, core.codec.calibration_rows, core.size)

    @prune_sigma.setter
    def prune_sigma(self, value: float) -> None:
        self._given["prune_sigma"] = as_number("prune_sigma", value, 0)

    @property
    def coarse_groups(self) -> int:
        """Groups whose high nibbles the coarse score reads.

        Until it is set, a search that scans few vectors reads all groups.
        """
        return int(self._setting("coarse_groups"))

    @coarse_groups.setter
    def coarse_groups(self, value: int) -> None:
        number = as_positive_int("coarse_groups", value)
        groups = self._trained().codec.groups
        if number > groups:
            raise ValueError(
                f"coarse_groups={number} must be at most the {groups} groups of the codec"
            )
        self._given["coarse_groups"] = number

    def _groups_for(self, lists: int | None, candidates: int, exact: int) -> int:
        """Return how many groups a search of some lists reads; None: of all, but for pruned cells.

        What training chose suits a scan of some hundred thousand vectors. Where fewer are scanned,
        the other groups cost less than the better scores that they make unnecessary, unless these
        come from a few rows.
        """
        chosen = self.coarse_groups
        few_rows = candidates < min(_MANY_CANDIDATES, _core.Index.MANY_ROWS * exact)
        if few_rows or "coarse_groups" in self._given:
            return chosen
        core = self._trained()
        groups, cells = core.codec.groups, core.codec.cells
        share = (0.5 if cells else 1.0) if lists is None else lists / max(cells, 1)
        return int(groups) if core.size * share * (groups - chosen) <= _FEW_READS else chosen

    @property
    def refine_factor(self) -> int:
        """Candidates per requested neighbour that go from the coarse to the full score."""
        return int(self._setting("refine_factor"))

    @refine_factor.setter
    def refine_factor(self, value: int) -> None:
        self._given["refine_factor"] = as_positive_int("refine_factor", value)

    @property
    def k_factor(self) -> float:
        """Candidates per requested neighbour that go from the full to the exact score."""
        return self._k_factor

    @k_factor.setter
    def k_factor(self, value: float) -> None:
        self._k_factor = as_number("k_factor", value, 1, finite=True)
        self._k_factor_is_default = False

    def _candidates(self, k: int, k_factor: float | None) -> tuple[int, int]:
        """Return the numbers of candidates of the coarse stage, and of those for exact scores."""
        candidates, exact = self.refine_factor * k, 0
        # A `refine_factor` that was set holds for small k, too.
        if "refine_factor" not in self._given:
            candidates = max(candidates, self._least_candidates)
        if self._refine is not None:
            factor = self._k_factor if k_factor is None else k_factor
            exact = min(math.ceil(factor * k), MOST_CANDIDATES)
            few = not isinstance(self._refine, str) or candidates > _core.Index.MANY_ROWS * exact
            if few and self._k_factor_is_default and k_factor is None and self._codec is not None:
                self._k_factor_is_default = False  # it is said once
                warn_of_k_factor(self._codec, self._metric)
        return min(candidates, MOST_CANDIDATES), exact

    def _lists_to_search(self, chosen: SearchParameters) -> int | None:
        """Return how many lists a query searches; None: all vectors."""
        return None

    def _depth(self, k: int, chosen: SearchParameters, lists: int | None = None) -> Depth:
        """Return how deep a search goes, in as many lists per query if they are given."""
        if lists is not None:
            return self._find_depth(k, chosen, lists)
        # The last one is kept: a search of one query takes some microseconds, and so does this.
        key = (k, chosen.nprobe, chosen.k_factor, chosen.target_recall, self._depth_key())
        known = self._last_depth  # one read: another thread may replace it
        if known is None or known[0] != key:
            known = key, self._find_depth(k, chosen, self._lists_to_search(chosen))
            self._last_depth = known
        return known[1]

    def _depth_key(self) -> tuple[Any, ...]:
        """Return all that a depth depends on, apart from the arguments of the search."""
        core, given = self._trained(), self._given.copy()
        return core, core.size, given, self._chosen, self._k_factor, self._list_setting

    def _find_depth(self, k: int, chosen: SearchParameters, lists: int | None) -> Depth:
        candidates, exact = self._candidates(k, chosen.k_factor)
        groups = self._groups_for(lists, candidates, exact)
        return Depth(candidates, exact, groups, self.prune_sigma, lists)


def sigma_for(sigma: float, rows: int, size: int) -> float:
    """Return `prune_sigma` for an index of a size, given what training chose for some rows."""
    if math.isinf(sigma):
        return sigma
    beyond = max(0.0, math.log(max(size, 1) / rows)) if rows else 0.0
    return math.sqrt(sigma * sigma + _SIGMA_GROWTH * beyond)
