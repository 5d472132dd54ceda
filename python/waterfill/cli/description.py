"""Descriptions of codecs and indexes, as JSON values and as lines of text."""

from __future__ import annotations

from typing import Any

import waterfill as wf
from waterfill.cli.output import size
from waterfill.folder import FolderIndex
from waterfill.reporting.object_tables import bytes_words
from waterfill.sizing import index_size

Index = wf.IndexFlat | wf.IndexIVF | wf.IndexHNSW


def describe_index(index: Index, file_bytes: int) -> dict[str, Any]:
    """Return the properties of an index for JSON."""
    taken = index_size(index, file_bytes)
    return {
        "n": index.ntotal,
        "d": index.d,
        "metric": index.metric,
        "bytes_per_vector": taken.bytes_per_vector,
        "bytes_by_part": taken.parts,
        "times_smaller": taken.times_smaller,
        "fixed_bytes": taken.fixed_bytes,
        "codec_bytes": taken.codec_bytes,
        "memory_bytes": taken.memory_bytes,
        "has_ids": index.has_ids,
        **_settings(index),
    }


def _settings(index: Index) -> dict[str, Any]:
    if isinstance(index, wf.IndexHNSW):
        return {
            "M": index.M,
            "efSearch": index.hnsw.efSearch,
            "efConstruction": index.hnsw.efConstruction,
        }
    lists = {"nlist": index.nlist, "nprobe": index.nprobe} if isinstance(index, wf.IndexIVF) else {}
    return {"refine": index.refine, "k_factor": index.k_factor, **lists}


def file_line(file_bytes: int, index: Index) -> str:
    """Return the size of an index's file, and what stands in it beside the vectors."""
    if not file_bytes:  # a device has no size
        return size(file_bytes)
    taken = index_size(index, file_bytes)
    codec = f" (codec {size(taken.codec_bytes)})" if taken.codec_bytes else ""
    return f"{size(file_bytes)}, {size(taken.fixed_bytes)} of it beside the vectors{codec}"


def index_lines(index: Index) -> dict[str, str]:
    """Return the properties of an index as text, by name."""
    mapped = " besides the mapped files" if isinstance(index, FolderIndex) else ""
    lines = {
        "vectors": f"{index.ntotal:,} of {index.d} dimensions, metric {index.metric}",
        "bytes per vector": bytes_words(index._vector_bytes(), index.d),
        "memory": f"{size(index.nbytes)} now for the vectors{mapped}",
        "ids": "custom" if index.has_ids else "positions",
    }
    if isinstance(index, wf.IndexHNSW):
        lines["graph"] = f"{index.M} links per vector, efSearch {index.hnsw.efSearch}"
        return lines
    if isinstance(index, wf.IndexIVF):
        lines["lists"] = f"{index.nlist:,}, nprobe {index.nprobe:,}{_share_of_lists(index)}"
    if index.refine is not None:
        lines["refine"] = f"{index.refine} rows, k_factor {index.k_factor:g}"
    return lines


def _share_of_lists(index: wf.IndexIVF) -> str:
    """Say what searching some of the lists leaves, where that is known."""
    target = index.target_recall
    if target is None or index.nprobe >= index.nlist:
        return ""
    return f" for a target_recall of {target:g} of all lists"


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
        "bytes_per_vector": codec.bytes_per_vector,
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
    ip, l2 = (f"{each:.4g}" for each in codec.bytes_per_vector.values())
    return {
        "codec": f"{codec.d} dimensions in codes of {codec.code_size} bytes, {cells}",
        "in an index": f"{ip} bytes per vector, {l2} for l2; ids and rows take more",
        "plan": "; ".join([f"{plan.maker}, dimensions: {classes}", *properties]),
        "distortion": f"{plan.predicted_distortion:.1%} predicted, Shannon bound "
        f"{plan.shannon_bound:.1%}",
    }
