"""A local Ray cluster, and vectors in datasets of it."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import warnings

import numpy as np
import pytest
from support.store_checks import load

CPUS = 2


@pytest.fixture(scope="session")
def ray():
    """Ray, with a cluster on this machine; nothing is written outside a temporary folder."""
    ray, _ = load("ray", "ray.data")
    directory = tempfile.mkdtemp(prefix="wf-ray-")  # short: sockets in it have limited names
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):  # of Ray's own start
            warnings.simplefilter("ignore", kind)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # not behind all others of a busy machine
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        ray.init(
            num_cpus=CPUS,
            include_dashboard=False,
            object_store_memory=200 << 20,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=directory,
            # Workers that wait are kept: starting them is most of the time that tests take.
            _system_config={"idle_worker_killing_time_threshold_ms": 600_000},
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield ray
        ray.shutdown()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def vectors(base_64):
    """3,000 vectors of 64 dimensions."""
    return base_64[:3000]


@pytest.fixture(scope="session")
def dataset(ray, vectors):
    """The vectors in blocks of several sizes."""
    cuts = [1, 500, 501, 1400, 1404, 2900]
    return ray.data.from_numpy(np.split(vectors, cuts)).materialize()


@pytest.fixture(scope="session")
def lake(tmp_path_factory, vectors):
    """The vectors in Parquet files, with ids that are no positions."""
    arrow, parquet = load("pyarrow", "pyarrow.parquet")
    folder = tmp_path_factory.mktemp("lake")
    for i, part in enumerate(np.array_split(np.arange(3000), 5)):
        column = arrow.FixedSizeListArray.from_arrays(arrow.array(vectors[part].ravel()), 64)
        table = arrow.table({"id": 7 * part + 3, "vector": column, "text": part.astype(str)})
        parquet.write_table(table, folder / f"part-{i}.parquet", row_group_size=128)
    return folder


@pytest.fixture(scope="session")
def lake_dataset(ray, lake):
    """What lies in these files, read once, in their order."""
    dataset = ray.data.read_parquet(str(lake))
    dataset.context.execution_options.preserve_order = True
    return dataset.materialize()
