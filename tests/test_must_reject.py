"""Files with one fault each: every reader refuses them, and says what the fault is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from support.container import Container, Section

import waterfill as wf
from waterfill import _core

FOLDER = Path(__file__).parent / "golden" / "must_reject"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def test_every_file_has_an_expectation_and_its_own_fault():
    assert sorted(path.stem for path in FOLDER.glob("*.wf")) == sorted(EXPECTED)
    assert len({case["sha256"] for case in EXPECTED.values()}) == len(EXPECTED) >= 60


@pytest.mark.parametrize("name", EXPECTED)
def test_must_reject(name):
    path, case = FOLDER / f"{name}.wf", EXPECTED[name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == case["sha256"], "the file was changed"
    with pytest.raises(wf.FormatError, match=case["message"]) as error:
        wf.read_index(path)
    assert str(path) in str(error.value)
    with pytest.raises(wf.FormatError, match=case["message"]):
        _core.index_from_bytes(path.read_bytes())
    with pytest.raises(wf.FormatError):
        wf.read_codec(path)
    if b"LABSAMP" in path.read_bytes():  # of a version that can be mapped
        with pytest.raises(ValueError, match=r"damaged|before 1\.5"):  # without LISTS
            wf.read_index(path, mmap=True, verify="full")


def rewritten(tag: str, data: bytes) -> wf.Codec:
    """Return the codec of a golden file with other contents of a section."""
    file = Container.parse((FOLDER.parent / "1.3-manifest-ip.wf").read_bytes())
    file[tag].data = bytearray(data)
    codec = _core.index_from_bytes(file.to_bytes())[0].codec
    return wf.Codec(codec)


NO_PLANS = {
    "text": b"plan",
    "list": b"[]",
    "deep": b"[" * 100_000,
    "digits": b'{"format": ' + b"9" * 10_000 + b"}",
    "infinite": b'{"format": "waterfill-plan", "version": 1, "pq_multiplier": 1e999}',
    "surrogate": b'{"version": "\\ud800"}',
}


@pytest.mark.parametrize("tag", ["PLAN", "MANIFEST"])
@pytest.mark.parametrize("text", NO_PLANS.values(), ids=NO_PLANS)
def test_text_that_is_no_plan_or_manifest_is_a_format_error(tag, text):
    codec = rewritten(tag, text)
    with pytest.raises(wf.FormatError, match=f"section {tag}: text is not the JSON"):
        getattr(codec, tag.lower())


NO_UTF8 = {
    "continuation": b"\x80",
    "end": b"{}\xe2\x82",
    "no continuation": b"\xe2\x82x",
    "two bytes for one": b"\xc0\x80",
    "three bytes for two": b"\xe0\x80\x80",
    "four bytes for three": b"\xf0\x80\x80\x80",
    "half of a surrogate pair": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
}


@pytest.mark.parametrize("text", NO_UTF8.values(), ids=NO_UTF8)
def test_text_that_is_not_utf8_is_a_format_error(text):
    with pytest.raises(UnicodeDecodeError):
        text.decode()
    with pytest.raises(wf.FormatError, match="section PLAN is not UTF-8"):
        rewritten("PLAN", text)


def test_text_in_all_of_unicode_is_read():
    for character in (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF):
        rewritten("PLAN", f"{{{chr(character)}}}".encode())


@pytest.mark.parametrize(
    "change",
    [{"rows": "many"}, {"plan": []}, {"created": 7}, {"measured": [1]}, {"draw": 1.5}],
    ids=lambda change: next(iter(change)),
)
def test_manifests_with_other_types_are_format_errors(change):
    file = Container.parse((FOLDER.parent / "1.3-manifest-ip.wf").read_bytes())
    data = json.loads(file["MANIFEST"].data) | change
    codec = rewritten("MANIFEST", json.dumps(data).encode())
    with pytest.raises(wf.FormatError, match=next(iter(change))):
        _ = codec.manifest


def test_the_plan_of_another_codec_is_a_format_error():
    plan = Container.parse((FOLDER.parent / "1.1-second-bytes-ip.wf").read_bytes())["PLAN"].data
    codec = rewritten("PLAN", bytes(plan))
    with pytest.raises(wf.FormatError, match="plan of another codec"):
        _ = codec.plan


def test_a_quantizer_that_is_none_is_a_format_error():
    file = Container.parse((FOLDER.parent / "1.2-ivf-quantizer.wf").read_bytes())
    for data in (b"none", bytes(file["QUANT"].data)[:-8]):
        file["QUANT"].data = bytearray(data)
        index = wf.IndexIVF._from_stored(_core.index_from_bytes(file.to_bytes()))
        with pytest.raises(wf.FormatError, match="section QUANT"):
            index.search(np.zeros((1, 12), dtype="f4"), 3)


def test_flags_of_later_versions_are_ignored_in_sections_that_may_be_skipped():
    file = Container.parse((FOLDER.parent / "1.2-ids-int8.wf").read_bytes())
    file.sections.append(Section(b"FUTURE\0\0", bytearray(b"text"), 1))
    assert _core.index_from_bytes(file.to_bytes())[0].size == 500
    file.sections[-1].flags = 1 | 1 << 31
    with pytest.raises(wf.FormatError, match="FUTURE has an unknown flag"):
        _core.index_from_bytes(file.to_bytes())
    file.minor = 8
    assert _core.index_from_bytes(file.to_bytes())[0].size == 500
    file.sections[-1].flags = 1 << 31
    with pytest.raises(wf.FormatError, match="FUTURE is not known to this release"):
        _core.index_from_bytes(file.to_bytes())


def test_a_container_is_put_together_as_the_writer_does():
    for path in FOLDER.parent.glob("*.wf"):
        assert Container.parse(path.read_bytes()).to_bytes() == path.read_bytes()
