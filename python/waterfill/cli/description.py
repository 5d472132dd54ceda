"""Descriptions of codecs and indexes, as JSON values and as lines of text."""

from __future__ import annotations

from typing import Any

import waterfill as wf
from waterfill.cli.output import size
from waterfill.folder import FolderIndex
from waterfill.reporting.formatting import smaller

Index = wf.IndexFlat | wf.IndexIVF

_ID_BYTES, _FLOAT_BYTES = 8, 4
_LEAST_REST = 0.1  # bytes per vector that are worth a word


def describe_index(index: Index) -> dict[str, Any]:
    """Return the properties of an index for JSON."""
    lists = {"nlist": index.nlist, "nprobe": index.nprobe} if isinstance(index, wf.IndexIVF) else {}
    return {
        "n": index.ntotal,
        "d": index.d,
        "metric": index.metric,
        "code_bytes_per_vector": index.bytes_per_vector,
        "bytes_per_vector": total_bytes_per_vector(index),
        "times_smaller": _FLOAT_BYTES * index.d / total_bytes_per_vector(index),
        "memory_bytes": index.nbytes,
        "codec_bytes": _codec_bytes(index),
        "has_ids": index.has_ids,
        "refine": index.refine,
        "k_factor": index.k_factor,
        **lists,
    }


def total_bytes_per_vector(index: Index) -> float:
    """Return the memory per vector: code, row, id, order of insertion and unused space.

    Of a folder it is the space on the disk, which searches map.
    """
    if not index.ntotal:
        return float(index.bytes_per_vector)
    if isinstance(index, FolderIndex):
        stored = sum(segment["bytes"] for segment in index.segments) + index.log_bytes
        return stored / index.ntotal
    return index.nbytes / index.ntotal


def _bytes_line(index: Index) -> str:
    """Return the bytes per vector, their parts, and the ratio to float32."""
    d, total = index.d, total_bytes_per_vector(index)
    parts = {"code": index.bytes_per_vector}
    if index.refine is not None:
        row = {"float32": _FLOAT_BYTES * d, "float16": 2 * d, "int8": d + 8}[index.refine]
        parts[f"{index.refine} row"] = row
    if index.has_ids and total >= sum(parts.values()) + _ID_BYTES:  # a run of ids takes no space
        parts["id"] = _ID_BYTES
    rest = total - sum(parts.values())
    words = [f"{name} {value}" for name, value in parts.items()]
    if rest >= _LEAST_REST:
        words.append(f"order and unused space {rest:.1f}")
    shown = f"{total:.1f}" if rest >= _LEAST_REST else f"{round(total)}"
    inside = f" ({', '.join(words)})" if len(words) > 1 else ""
    return f"{shown}{inside}, {smaller(_FLOAT_BYTES * d / total)} than float32"


def _codec_bytes(index: Index) -> int:
    assert index.codec is not None
    return len(index.codec.to_bytes())


def file_line(file_bytes: int, index: Index) -> str:
    """Return the size of an index's file, codec included, and its ratio to float32."""
    if not index.ntotal or not file_bytes:  # a device has no size
        return size(file_bytes)
    ratio = _FLOAT_BYTES * index.d * index.ntotal / file_bytes
    return f"{size(file_bytes)}, {smaller(ratio)} than the vectors in float32"


def index_lines(index: Index) -> dict[str, str]:
    """Return the properties of an index as text, by name."""
    mapped = " besides the mapped files" if isinstance(index, FolderIndex) else ""
    lines = {
        "vectors": f"{index.ntotal:,} of {index.d} dimensions, metric {index.metric}",
        "bytes per vector": _bytes_line(index),
        "memory": f"{size(index.nbytes)}{mapped}, and {size(_codec_bytes(index))} for the codec",
        "ids": "custom" if index.has_ids else "positions",
    }
    if isinstance(index, wf.IndexIVF):
        lines["lists"] = f"{index.nlist:,}, nprobe {index.nprobe:,}"
    if index.refine is not None:
        lines["refine"] = f"{index.refine} rows, k_factor {index.k_factor:g}"
    return lines


def describe_folder(index: FolderIndex) -> dict[str, Any]:
    """Return the files of an index in a folder for JSON; counts are those of the last flush."""
    return {
        "segments": index.segments,
        "removed": sum(segment["removed"] for segment in index.segments),
        "log_bytes": index.log_bytes,
    }


def folder_lines(index: FolderIndex) -> dict[str, str]:
    """Return the files of an index in a folder as text, by name."""
    stored = sum(segment["vectors"] for segment in index.segments)
    removed = sum(segment["removed"] for segment in index.segments)
    return {
        "segments": f"{len(index.segments):,} with {stored:,} vectors, {removed:,} of them removed",
        "log": f"{size(index.log_bytes)} of changes since the last flush",
    }


def describe_codec(codec: wf.Codec) -> dict[str, Any]:
    """Return the properties of a codec for JSON."""
    plan = codec.plan
    return {
        "d": codec.d,
        "code_size": codec.code_size,
        "cells": codec.cells,
        "alpha": codec.alpha,
        "coarse_groups": codec.coarse_groups,
        "refine_factor": codec.refine_factor,
        "plan": {
            "maker": plan.maker,
            "groups": len(plan.groups),
            "classes": plan.classes,
            "weighting": plan.weighting,
            "normalize": plan.normalize,
            "for_queries": plan.query_variances is not None,
            "predicted_distortion": plan.predicted_distortion,
            "shannon_bound": plan.shannon_bound,
        },
    }


def codec_lines(codec: wf.Codec) -> dict[str, str]:
    """Return the properties of a codec as text, by name."""
    plan = codec.plan
    cells = f"{codec.cells:,} cells" if codec.cells else "no cells"
    classes = ", ".join(f"{count} {name}" for name, count in plan.classes.items())
    properties = [
        name
        for name, holds in (
            ("vectors are normalised", plan.normalize),
            ("fitted to queries", plan.query_variances is not None),
        )
        if holds
    ]
    return {
        "codec": f"{codec.d} dimensions in {codec.code_size} bytes, {cells}",
        "plan": "; ".join([f"{plan.maker}, dimensions: {classes}", *properties]),
        "distortion": f"{plan.predicted_distortion:.1%} predicted, Shannon bound "
        f"{plan.shannon_bound:.1%}",
    }
