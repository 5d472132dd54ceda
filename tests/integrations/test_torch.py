"""Tensors in and out, DLPack both ways, and modules that decode inside a model."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
from support import trained

import waterfill as wf

torch = pytest.importorskip("torch")  # Macs with Intel processors have none

from waterfill.integrations.torch import (  # noqa: E402
    CodedEmbedding,
    Decoder,
    decode,
    encode,
    search,
)


@pytest.fixture(scope="module")
def tensors(clustered):
    return torch.from_numpy(clustered)


class OnlyDlpack:
    """What another library's array shows of itself."""

    def __init__(self, tensor):
        self._tensor = tensor

    def __dlpack__(self, **options):
        return self._tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._tensor.__dlpack_device__()


def test_encode_and_decode_are_the_codecs(small_codec, clustered, tensors):
    codes = encode(tensors, small_codec)
    assert (codes.dtype, codes.device.type) == (torch.uint8, "cpu")
    np.testing.assert_array_equal(codes.numpy(), small_codec.encode(clustered))
    for alpha in (0.0, 1.0):
        vectors = decode(codes, small_codec, alpha=alpha)
        assert vectors.dtype == torch.float32
        np.testing.assert_array_equal(vectors, small_codec.decode(codes.numpy(), alpha=alpha))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8])
def test_tensors_of_other_types(clustered, dtype):
    codec = trained.trained(clustered, 7)
    given = torch.from_numpy(clustered[:50]).to(dtype)
    want = codec.encode(given.float().numpy())
    np.testing.assert_array_equal(encode(given, codec), want)
    if dtype.is_floating_point:
        np.testing.assert_array_equal(encode(given.clone().requires_grad_(), codec), want)


def test_views_are_read_as_they_are(clustered, tensors):
    codec = trained.trained(clustered, 7)
    for view, want in (
        (tensors.T.contiguous().T[:40], clustered[:40]),
        (tensors[:80:2], clustered[:80:2]),
        (tensors.flip(0)[:9], clustered[::-1][:9]),
        (tensors[:5].expand(5, 20), clustered[:5]),
    ):
        np.testing.assert_array_equal(encode(view, codec), codec.encode(want))


@pytest.mark.parametrize("nlist", [None, 8])
def test_search(clustered, tensors, nlist):
    recipe = wf.Recipe(20, 7, effort="fast")
    index = wf.IndexFlat(recipe, "l2") if nlist is None else wf.IndexIVF(recipe, nlist, metric="l2")
    index.train(tensors)
    index.add(tensors)
    distances, ids = search(index, tensors[:9], 4)
    assert (distances.dtype, ids.dtype, tuple(ids.shape)) == (torch.float32, torch.int64, (9, 4))
    for ours, want in zip((distances, ids), index.search(clustered[:9], 4), strict=True):
        np.testing.assert_array_equal(ours, want)
    some = wf.SearchParameters(sel=wf.IDSelectorRange(10, 20))
    assert bool(((search(index, tensors[:9], 3, params=some)[1] - 10).abs() < 10).all())


def test_dlpack_both_ways(clustered, tensors):
    codec = trained.trained(clustered, 7)
    codes = encode(OnlyDlpack(tensors), codec)
    np.testing.assert_array_equal(np.from_dlpack(codes), codec.encode(clustered))
    vectors = decode(OnlyDlpack(codes), codec)
    np.testing.assert_array_equal(np.from_dlpack(vectors), codec.decode(codes.numpy()))
    index = wf.IndexFlat(codec, "l2")
    index.add(OnlyDlpack(tensors))
    distances, ids = index.search(OnlyDlpack(tensors[:3]), 2)
    assert torch.from_dlpack(ids).data_ptr() == ids.ctypes.data  # the same memory
    np.testing.assert_array_equal(search(index, tensors[:3], 2)[0], torch.from_dlpack(distances))


def test_a_tensor_on_a_device_is_refused_with_the_way_out(clustered):
    codec = trained.trained(clustered, 7)
    with pytest.raises(TypeError, match=r"x is on a device \(meta\), .* x\.cpu\(\)"):
        encode(torch.empty(3, 20, device="meta"), codec)


def same(ours, want):
    scale = np.abs(want).max()
    np.testing.assert_allclose(ours.detach().numpy(), want, atol=2e-6 * scale)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_the_decoder_decodes_as_the_codec(small_codec, clustered, alpha):
    codes = small_codec.encode(clustered)
    same(
        Decoder(small_codec, alpha)(torch.from_numpy(codes)), small_codec.decode(codes, alpha=alpha)
    )
    shaped = torch.from_numpy(codes[:24]).reshape(2, 3, 4, -1)
    want = small_codec.decode(codes[:24], alpha=alpha).reshape(2, 3, 4, -1)
    same(Decoder(small_codec, alpha)(shaped), want)


def test_the_decoder_of_other_plans(clustered, base_64):
    for code_bytes, metric in ((64, "ip"), (20, "cosine"), (3, "l2")):
        codec = wf.Recipe(64, code_bytes, effort="fast").train(base_64[:1500], metric)
        codes = codec.encode(base_64)
        same(Decoder(codec, 1.0)(torch.from_numpy(codes)), codec.decode(codes, alpha=1.0))
    with pytest.warns(RuntimeWarning, match="less than half as far from the mean"):
        codes = codec.encode(np.stack([codec.decode(codes[:1])[0] * 0, base_64.mean(axis=0)]))
    same(Decoder(codec, 1.0)(torch.from_numpy(codes)), codec.decode(codes, alpha=1.0))
    plan = wf.Plan.classic(wf.analyze(clustered), 0.2, 0.6, by="dimensions")  # binary groups
    codec = wf.Codec.train(clustered, plan)
    codes = codec.encode(clustered)
    same(Decoder(codec)(torch.from_numpy(codes)), codec.decode(codes))
    universal = wf.Codec.universal(20, 2)
    codes = universal.encode(clustered)
    same(Decoder(universal)(torch.from_numpy(codes)), universal.decode(codes))
    assert {len(codec._core.arrays["rests"]) for codec in (codec, universal)} == {0}
    wide = wf.Recipe(20, 20, effort="fast").train(clustered, "l2")  # dimensions of two bytes
    assert len(wide._core.arrays["rests"]) > 0
    codes = wide.encode(clustered)
    same(Decoder(wide, 0.5)(torch.from_numpy(codes)), wide.decode(codes, alpha=0.5))


class Model(torch.nn.Module):
    """A model with a decoder in front."""

    def __init__(self, codec):
        super().__init__()
        self.decoder = Decoder(codec)
        self.head = torch.nn.Linear(codec.d, 3)

    def forward(self, codes):
        return self.head(self.decoder(codes))


def test_a_model_with_a_decoder_is_saved_copied_and_exported(small_codec, clustered):
    codes = torch.from_numpy(small_codec.encode(clustered[:40]))
    model = Model(small_codec)
    want = model(codes)
    stream = io.BytesIO()
    torch.save(model.state_dict(), stream)
    stream.seek(0)
    other = Model(wf.Codec.from_bytes(small_codec.to_bytes()))
    other.load_state_dict(torch.load(stream))
    torch.testing.assert_close(other(codes), want)
    torch.testing.assert_close(copy.deepcopy(model)(codes), want)
    rows = torch.export.Dim("rows", min=2, max=1000)
    exported = torch.export.export(model, (codes,), dynamic_shapes=({0: rows},))
    torch.testing.assert_close(exported.module()(codes[:7]), want[:7])
    assert model.to("meta")(codes.to("meta")).device.type == "meta"  # all tensors move


def test_training_moves_vectors_and_leaves_codes(clustered):
    codec = trained.trained(clustered, 7)
    codes = encode(torch.from_numpy(clustered), codec)
    assert not list(Decoder(codec).parameters())
    decoder = Decoder(codec, trainable=True)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (decoder(codes) - torch.from_numpy(clustered)).square().sum(1).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(
        np.square(codec.decode(codes.numpy()) - clustered).sum(1).mean(), rel=1e-4
    )
    assert losses[-1] < losses[0]


def test_an_embedding_of_codes_takes_the_place_of_one_of_floats(base_64):
    table = torch.nn.Embedding.from_pretrained(torch.from_numpy(base_64[:2000]))
    coded = CodedEmbedding.from_pretrained(table.weight, 64, effort="fast")
    assert (coded.num_embeddings, coded.embedding_dim) == (2000, 64)
    indices = torch.tensor([[3, 5], [1999, 0]])
    assert coded(indices).shape == table(indices).shape
    error = (coded(indices) - table(indices)).square().sum(-1)
    assert float(error.max()) < 0.01  # of vectors of norm 1
    assert "codes" in coded.state_dict()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: Decoder(3), TypeError, "codec must be a waterfill.Codec, got int"),
        (lambda c: Decoder(c, 0.3), ValueError, "alpha"),
        (
            lambda c: Decoder(c)(torch.zeros(2, 3, dtype=torch.uint8)),
            ValueError,
            r"codes must be uint8 \(\.\.\., \d\), got torch.uint8 \(2, 3\)",
        ),
        (lambda c: Decoder(c)(torch.zeros(2, 8)), ValueError, "got torch.float32"),
        (
            lambda c: CodedEmbedding(torch.zeros(2, 8), c),
            ValueError,
            r"codes must be uint8 \(n, \d\)",
        ),
    ],
)
def test_wrong_arguments_are_named(clustered, call, error, message):
    with pytest.raises(error, match=message):
        call(trained.trained(clustered, 7))
