"""The command ``waterfill reproduce``: train again from a manifest and compare the codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import waterfill as wf
from waterfill._util.input_file import is_open_pipe, read_input
from waterfill.cli.errors import NOT_MET
from waterfill.cli.folders import read_codec
from waterfill.cli.inputs import open_queries, open_stored
from waterfill.cli.options import Format, Key, Queries, QueriesFormat, QueriesKey
from waterfill.cli.output import Output
from waterfill.io import file_kind


def reproduce(
    out: Output,
    manifest: Annotated[
        Path,
        typer.Argument(metavar="MANIFEST", help="A manifest (JSON), or a codec that has one."),
    ],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="The vectors that the codec was trained on.")
    ],
    queries: Queries = None,
    key: Key = None,
    format: Format = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
) -> int:
    """Train again as a manifest says, and compare the codes.

    The exit code is 0 if the codes are identical, and 3 if they differ.

    Example:
      waterfill reproduce codec.wf base.npy
    """
    recorded = _read_manifest(manifest)
    vectors = open_stored(data, key, format)
    query_rows = open_queries(queries, queries_key, vectors.d, queries_format)
    with out.progress("training again"):
        result = wf.reproduce(recorded, vectors, query_rows)
    document = {"identical": result.identical, "differences": list(result.differences)}
    verdict = "identical codes" if result.identical else "different codes"
    out.show(document, f"{manifest} and {data}: {'; '.join((verdict, *result.differences))}")
    return 0 if result.identical else NOT_MET


def _read_manifest(path: Path) -> wf.training.Manifest:
    """Read the manifest of a codec or an index, or from the JSON of ``waterfill info``."""
    if path.is_dir() or (not is_open_pipe(path) and file_kind(path) is not None):
        manifest = read_codec(path).manifest
        if manifest is None:
            raise ValueError(f"{path}: the codec has no manifest; train it again to record one")
        return manifest
    try:
        document = json.loads(read_input(path))
        return wf.training.Manifest.from_json(json.dumps(document.get("manifest", document)))
    except (AttributeError, RecursionError, ValueError):
        raise ValueError(
            f"{path}: expected a codec, an index, or the output of waterfill info --json"
        ) from None
