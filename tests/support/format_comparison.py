"""What the twin reads of a file, compared with what waterfill says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from support.derived_sections import check_ids, check_lists
from support.format_twin import codes_of, lists_of, matrix, rows_of

import waterfill as wf

METRICS = {"ip": "inner_product", "l2": "l2", "cosine": "cosine"}


def check_codec(bodies: dict[str, Any], codec: wf.Codec) -> None:
    """Compare the sections of a codec."""
    arrays, settings, params = codec._core.arrays, codec._core.settings, bodies["PARAMS"]
    assert (params.d, params.num_groups) == (codec.d, codec._core.groups)
    assert params.num_coded == len(arrays["basis"])
    shapes = [(group.num_dimensions, group.kind.name) for group in bodies["SHAPES"].groups]
    assert shapes == arrays["shapes"]
    np.testing.assert_array_equal(np.array(bodies["MEAN"].values, "f4"), arrays["mean"])
    np.testing.assert_array_equal(np.array(bodies["WEIGHTS"].values, "f4"), arrays["weights"])
    for tag, name in {"BASIS": "basis", "BOOKS": "books", "CELLS": "cells"}.items():
        np.testing.assert_array_equal(matrix(bodies[tag]), arrays[name])
    second = bodies["RESTS"].second_bytes if "RESTS" in bodies else []
    assert [(byte.column, byte.first_column) for byte in second] == arrays["rests"]
    assert (params.alpha_ip, params.alpha_l2) == (settings["alpha_ip"], settings["alpha_l2"])
    for depth, name in ((params.depth_ip, "depth_ip"), (params.depth_l2, "depth_l2")):
        assert (depth.refine_factor, depth.coarse_groups) == settings[name]
    assert (params.scale.low, params.scale.step) == settings["scale"]
    assert (params.extra.low, params.extra.step) == settings["cell_length"]
    assert params.constant_norm == settings["constant_norm"]
    assert params.classic_multiplier == settings["pq_multiplier"]
    assert bool(params.normalize) == settings["normalize"]
    joint = bodies["JOINT"].exponent if "JOINT" in bodies else 0
    assert joint == settings["joint"]
    assert json.loads(bodies["PLAN"].json) == json.loads(codec.plan.to_json())
    manifest = codec.manifest
    assert ("MANIFEST" in bodies) == (manifest is not None)
    if manifest is not None:
        assert json.loads(bodies["MANIFEST"].json)["rows"] == manifest.rows
    check_cells(bodies, codec)


def check_cells(bodies: dict[str, Any], codec: wf.Codec) -> None:
    """Compare the cells of the space."""
    settings = codec._core.settings
    assert ("CELLSPEC" in bodies) == ("CENTROID" in bodies) == (codec.cells > 0)
    if codec.cells == 0:
        return
    spec = bodies["CELLSPEC"]
    assert spec.num_cells == codec.cells
    assert spec.calibration_rows == codec._core.calibration_rows
    assert (spec.middle, spec.norm_range, spec.centroid_range) == settings["offset"]
    sigma = np.array([spec.prune_sigma_ip, spec.prune_sigma_l2], "f4")
    np.testing.assert_array_equal(sigma, np.array(settings["prune_sigma"], "f4"))
    np.testing.assert_array_equal(matrix(bodies["CENTROID"]), codec._core.arrays["centroids"])
    assert ("CELLRULE" in bodies) == settings["by_direction"]
    recall = codec._core.list_recall
    assert ("PROBES" in bodies) == bool(recall["ip"][0])
    if "PROBES" in bodies:
        probes = bodies["PROBES"]
        for metric, (missed, decay) in recall.items():
            shares = [one.share for one in getattr(probes, f"missed_{metric}")]
            assert (shares, getattr(probes, f"decay_{metric}")) == (missed, decay)


def check_vectors(bodies: dict[str, Any], index: Any, *, consecutive: bool = False) -> None:
    """Compare vectors with those of an index: codes, lists, ids, refine rows."""
    codec, n = index.codec, index.ntotal
    assert bodies["INDEX"].num_vectors == n
    assert bodies["INDEX"].metric.name == METRICS[index.metric]
    assert bool(bodies["INDEX"].uses_extra) == index._core.keeps_extra
    lists = lists_of(bodies, max(codec.cells, 1))
    expected, groups = index.codes(), codec._core.groups
    np.testing.assert_array_equal(codes_of(bodies, lists, groups), expected[:, : groups + 1])
    if codec.cells > 0:
        cells = np.array(bodies["LISTOF"].values, "u2" if codec.cells > 256 else "u1")
        np.testing.assert_array_equal(
            cells.view(np.uint8).reshape(n, codec.code_size - groups - 1), expected[:, groups + 1 :]
        )
    assert len(bodies["EXTRA"].values) == (n if index._core.keeps_extra else 0)
    np.testing.assert_array_equal(check_ids_of(bodies, n, consecutive), index.ids())
    if "LISTS" in bodies:
        check_lists(bodies, lists)
    assert ("REFINE" in bodies) == (index._core.refine_row_kind is not None)
    if "REFINE" in bodies:
        assert bodies["REFINE"].kind.name == index._core.refine_row_kind.name
        np.testing.assert_allclose(
            rows_of(bodies).reshape(n, codec.d),
            index._core.refine_rows(0, n),
            rtol=1e-6,
            atol=1e-6,
        )


def check_ids_of(bodies: dict[str, Any], n: int, consecutive: bool) -> np.ndarray:
    """Return the ids; before format 1.5 nothing follows from them."""
    if "LISTS" in bodies:
        return check_ids(bodies, consecutive=consecutive)
    return np.array(bodies["IDS"].values, np.int64) if "IDS" in bodies else np.arange(n)


def target_of(bodies: dict[str, Any]) -> float | None:
    """Return the target recall of an index or a folder, if it has one."""
    return bodies["TARGET"].recall if "TARGET" in bodies else None
