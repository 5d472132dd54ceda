"""What `open_index` makes of its arguments for managed folders, and of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.folder_model import codec_of
from support.managed import ENOUGH, D, open_managed, some_vectors

import waterfill as wf
from waterfill.managed.index import ManagedIndex
from waterfill.managed.record import RECORD, Event, Record
from waterfill.managed.settings import MANAGED, Measured, Settings, State


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"d": 0}, ValueError, "d"),
        ({"d": 16.5}, TypeError, "d"),
        ({"target_recall": 0.9, "code_bytes": 8}, ValueError, "expected one of them"),
        ({"target_recall": 1.5}, ValueError, "target_recall"),
        ({"code_bytes": 17}, ValueError, "at most d=16"),
        ({"keep_rows": "float32"}, ValueError, "'float16', 'int8', 'none'"),
        ({"on_drift": "panic"}, ValueError, "'retrain', 'warn'"),
        ({"truncate": 1}, TypeError, "bool"),
        ({"background": "on"}, ValueError, "'off'"),
        ({"background": 0}, ValueError, "above 0"),
        ({"background": 1.5}, ValueError, "at most 1"),
        ({"codec": codec_of("flat")}, ValueError, "codec: a managed folder chooses it"),
        ({"nprobe": 4}, ValueError, "nprobe: a managed folder chooses it"),
        ({"refine": "float16"}, ValueError, "refine: a managed folder chooses it"),
        ({"metric": "manhattan"}, ValueError, "metric"),
    ],
)
def test_bad_arguments_leave_no_folder(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    path = tmp_path / "a"
    with pytest.raises(error, match=words):
        wf.open_index(path, "a", **({"d": D, "background": "off"} | options))
    assert not (path / MANAGED).exists()
    with pytest.raises(FileNotFoundError):
        wf.open_index(path)


def test_settings_of_a_managed_folder_need_one(tmp_path: Path) -> None:
    for name, value in (("code_bytes", 8), ("keep_rows", "int8"), ("on_drift", "warn")):
        with pytest.raises(ValueError, match=f"{name}: only a managed folder has it; give d="):
            wf.open_index(tmp_path / "a", "a", codec=codec_of("flat"), **{name: value})
    with pytest.raises(FileNotFoundError):
        wf.open_index(tmp_path / "a", "r", d=D)


def test_an_existing_folder_keeps_or_takes_settings(tmp_path: Path) -> None:
    open_managed(tmp_path / "a", code_bytes=8, metric="l2").close()
    with wf.open_index(tmp_path / "a", "a", background="off") as index:
        assert isinstance(index, ManagedIndex)
        assert (index.d, index.metric, index._state.settings.code_bytes) == (D, "l2", 8)
    for options, words in (
        ({"d": 8}, "d=8: the folder has vectors of 16"),
        ({"metric": "ip"}, "metric='ip'"),
        ({"keep_rows": "int8"}, "keeps rows of float16"),
    ):
        with pytest.raises(ValueError, match=words):
            wf.open_index(tmp_path / "a", "a", **options)
    with wf.open_index(tmp_path / "a", "a", background="off", on_drift="warn") as index:
        assert index._state.settings == Settings(None, 8, "float16", "warn", False)
        assert [event.what for event in index.history] == ["asked"]
    reader = wf.open_index(tmp_path / "a")
    assert isinstance(reader, ManagedIndex)
    with pytest.raises(ValueError, match="mode='a'"):
        wf.open_index(tmp_path / "a", "r", code_bytes=4)


def test_other_bytes_are_a_reason_to_train(tmp_path: Path) -> None:
    with open_managed(tmp_path / "a") as index:
        index.upsert(np.arange(ENOUGH), some_vectors(ENOUGH))
        index.maintain()
    with open_managed(tmp_path / "a", code_bytes=4) as index:
        done = [event.what for event in index.maintain()]
        # The new codec finds less than the one in use, and nothing says that this is accepted.
        assert done[0] == "kept"
    with open_managed(tmp_path / "a", code_bytes=12) as index:
        assert [event.what for event in index.maintain()] == ["trained", "encoded", "measured"]
        assert len(index.codec.plan.groups) == 12


def test_it_is_made_anew(tmp_path: Path) -> None:
    with open_managed(tmp_path / "a") as index:
        index.upsert(np.arange(ENOUGH), some_vectors(ENOUGH))
        index.maintain()
    with open_managed(tmp_path / "a", "w") as index:
        assert (index.ntotal, index.health().phase) == (0, "exact")
    wf.open_index(tmp_path / "a", "w", codec=codec_of("flat")).close()
    assert not isinstance(wf.open_index(tmp_path / "a"), ManagedIndex)
    with open_managed(tmp_path / "a", "w") as index:
        assert index.health().phase == "exact"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    open_managed(tmp_path / "a").close()
    name = tmp_path / "a" / MANAGED
    good = name.read_bytes()
    for bad in (b"", b"{}", good[:50], good.replace(b'"code_bytes": 8', b'"code_bytes": "8"')):
        name.write_bytes(bad)
        with pytest.raises(wf.FormatError, match="MANAGED: damaged"):
            wf.open_index(tmp_path / "a")
    name.write_bytes(good)
    open_managed(tmp_path / "a").close()


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    measured = Measured(0.9, 0.8, 0.95, 1000, 200)
    state = State(Settings(), "first", "second", 5, 7, 10, 0.91, measured, measured)
    state.write(str(tmp_path))
    assert State.read(str(tmp_path)) == state


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    record = Record(str(tmp_path))
    assert record.events() == []
    record.append(Event("trained", "one", 1))
    with open(tmp_path / RECORD, "ab") as file:
        file.write(b'{"what": "enco')
    record.append(Event("measured", "two", 2, figures={"recall": 0.9}))
    assert [event.words for event in record.events()] == ["one", "two"]
    assert "measured: two" in str(record.events()[1])
