"""Queries per second against recall: waterfill and its peers on one thread.

Run ``python bench/peers.py --sets minilm-50k --keep peers.json``, or ``make bench-peers``. A quick
sweep over all search settings finds those near some recalls; these are then timed interleaved.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import faiss
import peer_page
from methods import set_threads
from packages import DatasetError
from peer_bench import Bench
from peer_goals import ROW_TARGETS, goal_table
from peer_methods import KINDS, LIBRARIES, LISTS
from peer_scale import SCALE, TRAINING, Scale
from peer_sets import SETS
from recall_curves import LOADS, Curves, speed_table

from waterfill import _core

_SETS = [*SETS, SCALE]
# By instruction set: variables that libraries read when they are loaded. FAISS before 1.15 reads
# FAISS_OPT_LEVEL, later versions FAISS_SIMD_LEVEL; OpenBLAS multiplies for FAISS's quantizers.
ISAS: Mapping[str, Mapping[str, str]] = {
    "best": {},
    "avx512": {
        "WATERFILL_ISA": "avx512",
        "FAISS_OPT_LEVEL": "avx512",
        "FAISS_SIMD_LEVEL": "AVX512",
        "OPENBLAS_CORETYPE": "SkylakeX",
    },
    "avx2": {
        "WATERFILL_ISA": "avx2",
        "FAISS_OPT_LEVEL": "avx2",
        "FAISS_SIMD_LEVEL": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
}
NO_ISA = "turbovec, hnswlib, usearch and ScaNN choose their own instruction set"


def tables(bench: Bench | Scale) -> Iterator[str]:
    """Yield the tables of rates of a set, and the names of what was not measured."""
    curves = [one for one in bench.current() if one.run and one.kind != TRAINING]
    for one in LOADS if curves else ():
        yield from (*speed_table(curves, one, ROW_TARGETS), "")
    missing = "; ".join(bench.missing())
    if missing:
        yield f"Not measured: {missing}." if curves else "Not measured."


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Queries per second against recall, compared with peers.",
        epilog=f"Instruction sets: {NO_ISA}.",
    )
    parser.add_argument("--sets", nargs="+", choices=_SETS, default=_SETS, help="default: all")
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    parser.add_argument(
        "--sift", metavar="DIR", help="base.npy and query.npy of SIFT descriptors, 128 dimensions"
    )
    parser.add_argument(
        "--isa",
        choices=list(ISAS),
        default="best",
        help="instruction set of waterfill, FAISS and BLAS; default: the best of this machine",
    )
    parser.add_argument("--lists", type=int, nargs="+", default=LISTS, metavar="N")
    parser.add_argument("--rounds", type=int, default=7, help="timings per median")
    parser.add_argument(
        "--quick", action="store_true", help="every second value of a setting, fewer budgets"
    )
    parser.add_argument(
        "--fill-threads", type=int, default=1, metavar="N", help="threads that fill indexes"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="JSON", help="file of results to resume and update"
    )
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="folder of filled indexes of peers to reuse"
    )
    parser.add_argument(
        "--again",
        nargs="+",
        choices=LIBRARIES,
        default=[],
        help="sweep and time these even if the file has results",
    )
    parser.add_argument(
        "--only", nargs="+", choices=LIBRARIES, default=[], help="measure only these"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS, help="measure only methods of these"
    )
    parser.add_argument(
        "--retime", action="store_true", help="time the stored settings of all methods again"
    )
    parser.add_argument(
        "--match", default="", metavar="TEXT", help="only methods whose names contain TEXT"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing; print and draw")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="plot speed against recall")
    parser.add_argument(
        "--write", type=Path, metavar="MD", help="page whose generated part gets table and picture"
    )
    return parser.parse_args(arguments)


def _select_isa(isa: str) -> None:
    """Start the program again with the variables of an instruction set, if they are not set."""
    if any(os.environ.get(name) != value for name, value in ISAS[isa].items()):
        os.environ.update(ISAS[isa])
        os.execv(sys.executable, [sys.executable, *sys.argv])


def _faiss_level() -> str:
    """Return the instruction set of FAISS, which versions before 1.15 do not report."""
    config = getattr(faiss, "SIMDConfig", None)
    return str(config.get_level_name()) if config else "by FAISS_OPT_LEVEL"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = _parse(arguments)
    if arguments is None:
        _select_isa(args.isa)
    set_threads(1)
    print(f"instruction sets: waterfill {_core.isa()}, FAISS {_faiss_level()}", file=sys.stderr)
    results = Curves(args.keep)
    benches = [
        Scale(args, results) if name == SCALE else Bench(name, SETS[name], args, results)
        for name in args.sets
    ]
    for bench in benches:
        try:
            if not args.report:
                bench.run()
        except (DatasetError, OSError) as error:
            print(f"error: {bench.name}: {error}", file=sys.stderr)
            return 1
    goals = list(goal_table(row for bench in benches for row in bench.outcomes()))
    details = {bench.title: list(tables(bench)) for bench in benches}
    print(*goals, sep="\n")
    for heading, lines in details.items():
        print("", f"{heading}:", "", *lines, sep="\n")
    if args.picture or args.write:
        import peer_plot  # imported here: only the plot needs matplotlib

        picture = args.picture or args.write.with_suffix(".png")
        drawn = {one.name: one.current() for one in benches if isinstance(one, Bench)}
        peer_plot.draw(drawn, picture)
        if args.write:
            peer_page.write(args.write, goals, details, picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
