"""Tensors in and out, and codes that are decoded inside a model.

`encode`, `decode` and `search` take and return tensors on the CPU; they read tensors where they
lie, and give back memory without a copy. `Decoder` and `CodedEmbedding` are modules of torch
operations alone: they go where a model goes, with ``to(device)``, ``state_dict`` and
``torch.export``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from waterfill._util.optional import require
from waterfill._util.tensors import is_tensor
from waterfill.codec import Codec
from waterfill.recipe import Recipe
from waterfill.training.train import Effort, to_quarters

__all__ = ["CodedEmbedding", "Decoder", "decode", "encode", "search"]

torch = require("torch", "waterfill.integrations.torch", "torch")
_Module: Any = torch.nn.Module

_BYTE_VALUES = 256
_SMALLEST_SQUARE = 1e-12  # of a direction, as in the core


def encode(x: Any, codec: Codec) -> Any:
    """Encode vectors.

    Parameters
    ----------
    x : tensor, shape (n, d), or anything that `Codec.encode` takes
        Of any real dtype, on the CPU; gradients are not needed and not kept.
    codec : Codec
        Trained on vectors like these.

    Returns
    -------
    tensor of uint8, shape (n, code_size)
        The codes.

    Raises
    ------
    ValueError, TypeError
        As `Codec.encode`.
    """
    return _as_tensor(codec.encode(x))


def decode(codes: Any, codec: Codec, *, alpha: float = 0.0) -> Any:
    """Decode codes.

    Parameters
    ----------
    codes : tensor of uint8, shape (n, code_size)
        As `encode` returns, on the CPU.
    codec : Codec
        The codec that made them.
    alpha : {0, 0.25, 0.5, 0.75, 1}
        As for `Codec.decode`.

    Returns
    -------
    tensor of float32, shape (n, d)
        What the codes stand for.

    Raises
    ------
    ValueError, TypeError
        As `Codec.decode`.
    """
    return _as_tensor(codec.decode(codes, alpha=alpha))


def search(index: Any, queries: Any, k: int, **options: Any) -> tuple[Any, Any]:
    """Search an index of waterfill.

    Parameters
    ----------
    index : IndexFlat, IndexIVF, IndexHNSW, or an index in a folder
        With at least one vector, or results are -1.
    queries : tensor, shape (m, d)
        Of any real dtype, on the CPU.
    k : int
        Number of neighbours.
    **options : keyword arguments
        Of the index's `search`, such as ``params``.

    Returns
    -------
    distances : tensor of float32, shape (m, k)
        Best first.
    ids : tensor of int64, shape (m, k)
        -1 where there are fewer than k.

    Raises
    ------
    ValueError, TypeError
        As the index's `search`.
    """
    distances, ids = index.search(queries, k, **options)
    return _as_tensor(distances), _as_tensor(ids)


def _as_tensor(values: Any) -> Any:
    return values if is_tensor(values) else torch.from_numpy(values)


class Decoder(_Module):
    """Decodes codes to vectors inside a model, on the model's device.

    The results are those of `Codec.decode` up to float32 rounding. What a codec has learnt are
    buffers; with `trainable`, codebooks, basis and mean are parameters, which training changes: the
    codes then stay, and their vectors move.

    Parameters
    ----------
    codec : Codec
        The codec that made the codes.
    alpha : {0, 0.25, 0.5, 0.75, 1}
        As for `Codec.decode`.
    trainable : bool
        Whether codebooks, basis and mean are parameters.

    Raises
    ------
    TypeError
        If `codec` is not a `Codec`.
    ValueError
        If `alpha` is another number.

    Examples
    --------
    >>> decoder = Decoder(codec).to(device)
    >>> vectors = decoder(codes)  # uint8 (..., code_size) to float32 (..., d)
    """

    def __init__(self, codec: Codec, alpha: float = 0.0, *, trainable: bool = False) -> None:
        super().__init__()
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        arrays, settings = codec._core.arrays, codec._core.settings
        self.d, self.code_size, self.groups = codec.d, codec.code_size, codec._core.groups
        self._powers = to_quarters(alpha) / 8, settings["alpha_ip"] / 8  # of squared lengths
        weights = arrays["weights"][:, None]
        learnt = {
            # A row for each coded dimension: its coordinate by byte of its group.
            "books": arrays["books"] / weights,
            "basis": arrays["basis"],
            "centers": arrays["centroids"] if codec.cells else arrays["mean"][None],
        }
        for name, values in learnt.items():
            tensor = torch.tensor(np.asarray(values, np.float32))
            if trainable:
                setattr(self, name, torch.nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
        widths = [width for width, _ in arrays["shapes"]]
        group = np.repeat(np.arange(self.groups), widths)
        self.register_buffer("_group", torch.tensor(group))
        self.register_buffer("_start", torch.arange(len(group)) * _BYTE_VALUES)
        self.register_buffer("_scales", torch.tensor(_scales(*settings["scale"])))
        squares = _sums_by_group(np.square(arrays["cells"] / weights), widths)
        self.register_buffer("_cell_squares", torch.tensor(squares.repeat(16, axis=1)))

    def forward(self, codes: Any) -> Any:
        """Decode codes.

        Parameters
        ----------
        codes : tensor of uint8, shape (..., code_size)
            On the device of the module.

        Returns
        -------
        tensor of float32, shape (..., d)
            What they stand for.

        Raises
        ------
        ValueError
            For another dtype or size.
        """
        if codes.dtype != torch.uint8 or codes.shape[-1] != self.code_size:
            raise ValueError(
                f"codes must be uint8 (..., {self.code_size}), got {codes.dtype} "
                f"{tuple(codes.shape)}"
            )
        numbers = codes.long()
        places = numbers[..., self._group] + self._start
        points = self.books.reshape(-1)[places]
        rows = torch.arange(self.groups, device=codes.device) * _BYTE_VALUES
        cells = self._cell_squares.reshape(-1)[numbers[..., : self.groups] + rows].sum(-1)
        exponent, scale_exponent = self._powers
        factor = self._scales[numbers[..., self.groups]] * cells.pow(scale_exponent)
        if exponent:
            length = points.square().sum(-1).clamp_min(_SMALLEST_SQUARE)
            factor = factor / length.pow(exponent)
        return self._center(numbers) + factor[..., None] * (points @ self.basis)

    def _center(self, numbers: Any) -> Any:
        """Return what the vectors are coded from: the mean, or the centroids of their cells."""
        first = self.groups + 1
        if self.code_size == first:
            return self.centers[0]
        cell = numbers[..., first]
        if self.code_size == first + 2:
            cell = cell + _BYTE_VALUES * numbers[..., first + 1]
        return self.centers[cell]

    def extra_repr(self) -> str:
        """Return the sizes that ``print`` shows."""
        return f"{self.code_size} bytes to {self.d} dimensions"


def _scales(low: float, step: float) -> Any:
    """Return the value of each scale byte, float32 (256,)."""
    exponents = low + np.arange(-1, _BYTE_VALUES - 1) * step
    with np.errstate(over="ignore"):
        values = np.minimum(np.exp(exponents), np.finfo(np.float32).max)
    values[0] = 0
    return values.astype(np.float32)


def _sums_by_group(values: Any, widths: list[int]) -> Any:
    starts = np.cumsum([0, *widths[:-1]])
    return np.add.reduceat(np.asarray(values, np.float32), starts, axis=0)


class CodedEmbedding(_Module):
    """An ``nn.Embedding`` whose table is codes, decoded row by row as they are asked for.

    Parameters
    ----------
    codes : tensor of uint8, shape (n, code_size)
        As `encode` returns.
    codec : Codec
        The codec that made them.
    trainable : bool
        As for `Decoder`.

    Raises
    ------
    ValueError
        If `codes` have another dtype or shape.

    Examples
    --------
    >>> model.embedding = CodedEmbedding.from_pretrained(model.embedding.weight, code_bytes=48)
    """

    def __init__(self, codes: Any, codec: Codec, *, trainable: bool = False) -> None:
        super().__init__()
        self.decoder = Decoder(codec, trainable=trainable)
        if codes.dtype != torch.uint8 or codes.ndim != 2 or codes.shape[1] != codec.code_size:
            raise ValueError(
                f"codes must be uint8 (n, {codec.code_size}), got {codes.dtype} "
                f"{tuple(codes.shape)}"
            )
        self.register_buffer("codes", codes)

    @classmethod
    def from_pretrained(
        cls,
        weight: Any,
        code_bytes: int,
        *,
        seed: int = 0,
        effort: Effort = "balanced",
        trainable: bool = False,
    ) -> CodedEmbedding:
        """Train a codec on a table, and encode it.

        Parameters
        ----------
        weight : tensor, shape (n, d)
            Such as ``nn.Embedding.weight``.
        code_bytes : int
            Bytes per row, without that of the scale.
        seed : int
            See `waterfill.Recipe`.
        effort : {'fast', 'balanced', 'best'}
            See `waterfill.Recipe`.
        trainable : bool
            As for `Decoder`.

        Returns
        -------
        CodedEmbedding
            With a row for each of the table's.

        Raises
        ------
        ValueError, TypeError
            As `waterfill.Recipe` and its `train`.
        """
        table = weight.detach()
        codec = Recipe(int(table.shape[1]), code_bytes, seed=seed, effort=effort).train(table, "l2")
        return cls(encode(table, codec), codec, trainable=trainable)

    @property
    def num_embeddings(self) -> int:
        """Number of rows."""
        return int(self.codes.shape[0])

    @property
    def embedding_dim(self) -> int:
        """Number of dimensions."""
        return int(self.decoder.d)

    def forward(self, indices: Any) -> Any:
        """Decode some rows.

        Parameters
        ----------
        indices : tensor of int, shape (...)
            Their numbers.

        Returns
        -------
        tensor of float32, shape (..., d)
            The rows.
        """
        return self.decoder(self.codes[indices])
