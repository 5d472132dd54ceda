"""Descriptions of codecs and indexes, as JSON values and as lines of text."""

from __future__ import annotations

from typing import Any

import waterfill as wf
from waterfill.cli.output import size

Index = wf.IndexFlat | wf.IndexIVF


def describe_index(index: Index) -> dict[str, Any]:
    """Return the properties of an index for JSON."""
    lists = {"nlist": index.nlist, "nprobe": index.nprobe} if isinstance(index, wf.IndexIVF) else {}
    return {
        "n": index.ntotal,
        "d": index.d,
        "metric": index.metric,
        "bytes_per_vector": index.bytes_per_vector,
        "memory_bytes": index.nbytes,
        "has_ids": index.has_ids,
        "refine": index.refine,
        "k_factor": index.k_factor,
        **lists,
    }


def index_lines(index: Index) -> dict[str, str]:
    """Return the properties of an index as text, by name."""
    lines = {
        "vectors": f"{index.ntotal:,} of {index.d} dimensions, metric {index.metric}",
        "bytes per vector": f"{index.bytes_per_vector}, "
        f"{4 * index.d / index.bytes_per_vector:.1f} times smaller than float32",
        "memory": size(index.nbytes),
        "ids": "custom" if index.has_ids else "positions",
    }
    if isinstance(index, wf.IndexIVF):
        lines["lists"] = f"{index.nlist:,}, nprobe {index.nprobe:,}"
    if index.refine is not None:
        lines["refine"] = f"{index.refine} rows, k_factor {index.k_factor:g}"
    return lines


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
