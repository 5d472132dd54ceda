"""Without Ray, the error says how to install it."""

from __future__ import annotations

import sys

import pytest

import waterfill as wf


def test_the_error_names_the_extra(monkeypatch, codec_64, base_64, tmp_path):
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)
    wf.build(base_64, tmp_path / "a", codec_64)
    for call in (
        lambda: wf.scale.train(None),
        lambda: wf.scale.analyze(None),
        lambda: wf.scale.encode(None, codec_64),
        lambda: wf.scale.build(None, tmp_path / "b.wfx"),
        lambda: wf.scale.ShardedIndex.open(tmp_path / "a"),
    ):
        with pytest.raises(ImportError, match=r'needs ray: pip install "\.\[ray\]"'):
            call()
    assert not (tmp_path / "b.wfx").exists()
