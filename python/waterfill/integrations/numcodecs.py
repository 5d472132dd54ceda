"""numcodecs, and with it Zarr's format 2: chunks of vectors as codes."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import required
from waterfill.codec import Codec
from waterfill.data.rows import Rows
from waterfill.encoding import warn_of_clipped
from waterfill.integrations.code_bytes import code_bytes_for
from waterfill.recipe import Recipe

with required("numcodecs", "waterfill.integrations.numcodecs", "numcodecs"):
    import numcodecs.abc
    from numcodecs.compat import ensure_contiguous_ndarray

__all__ = ["WaterfillCodec"]

_DTYPES = ("<f2", "<f4", "<f8")


class WaterfillCodec(numcodecs.abc.Codec):
    """Encodes each row of a chunk as a vector; lossy.

    The trained codec is part of the configuration, in base64, so whoever has the metadata of an
    array can decode its chunks. The last dimension of a chunk must be that of the vectors.

    Parameters
    ----------
    codec : Codec or str
        A trained codec, or its bytes in base64.
    dtype : str or dtype
        Of the array: float32, float16 or float64, little-endian.

    Raises
    ------
    ValueError, TypeError
        If the codec or the dtype is none of these.

    Examples
    --------
    >>> codec = WaterfillCodec.train(vectors, 48)  # doctest: +SKIP
    """

    codec_id = "waterfill"

    def __init__(self, codec: Codec | str, dtype: Any = "<f4") -> None:
        if isinstance(codec, str):
            codec = Codec.from_bytes(base64.b64decode(codec))
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        self.dtype = np.dtype(dtype).str
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(_DTYPES)}, got {self.dtype}")
        self._codec = codec

    @classmethod
    def train(cls, x: Any, code_bytes: int | None = None, dtype: Any = "<f4") -> WaterfillCodec:
        """Train a codec with the least squared error.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors like those of the array.
        code_bytes : int, optional
            Without the byte for the scale: by default a bit per dimension, at least 8 bytes.
        dtype : str or dtype
            As for the class.

        Returns
        -------
        WaterfillCodec
            With the trained codec.

        Raises
        ------
        ValueError, TypeError
            As `waterfill.Recipe.train`.
        """
        d = Rows(x, "x").d
        recipe = Recipe(d, code_bytes_for(d, code_bytes), weighting=0.0)
        return cls(recipe.train(x, "l2", cells=0), dtype)

    @property
    def codec(self) -> Codec:
        """The trained codec."""
        return self._codec

    def encode(self, buf: Any) -> NDArray[np.uint8]:
        """Return the codes of the vectors of a chunk.

        Parameters
        ----------
        buf : array_like, shape (..., d)
            The chunk, of the codec's dtype and in C order.

        Returns
        -------
        uint8 (n * code_size,)
            The codes of its n vectors.

        Raises
        ------
        ValueError
            If the chunk has another dtype or order or does not divide into vectors, or one has a
            NaN or an infinity.
        """
        d = self._codec.d
        chunk = np.asarray(buf)
        if chunk.dtype.str != self.dtype:
            raise ValueError(f"chunk: expected dtype {self.dtype}, got {chunk.dtype.str}")
        if chunk.flags.f_contiguous and not chunk.flags.c_contiguous:
            raise ValueError("chunk: expected rows in C order; make the array with order='C'")
        last = chunk.shape[-1] if chunk.ndim else 1
        if last % d or (chunk.ndim > 1 and last != d):  # numcodecs may pass flat buffers
            raise ValueError(
                f"chunk: expected vectors of {d} dimensions in the last axis, got shape "
                f"{chunk.shape}; chunk the array as (n, {d})"
            )
        rows = Rows(chunk.reshape(-1, d), "chunk", d).joined(lambda block: block)
        codes = self._codec._encode_block(rows)
        # An array's last chunk is filled up with zeros, which may be unlike all vectors.
        used = rows.any(axis=1)
        warn_of_clipped(self._codec._core, Rows(rows[used], "chunk", d), codes[used])
        return codes.reshape(-1)

    def decode(self, buf: Any, out: Any = None) -> NDArray[Any]:
        """Return the vectors of codes.

        Parameters
        ----------
        buf : bytes-like
            Codes, of `encode`.
        out : array, shape (n * d,), optional
            Array for the vectors, of the codec's dtype.

        Returns
        -------
        dtype (n * d,)
            The vectors, in the codec's dtype; `out`, if given.

        Raises
        ------
        ValueError
            If the bytes do not divide into codes.
        """
        size = self._codec.code_size
        codes = ensure_contiguous_ndarray(buf).view(np.uint8)
        if codes.size % size:
            raise ValueError(f"buf: expected codes of {size} bytes, got {codes.size} bytes")
        vectors = self._codec.decode(codes.reshape(-1, size)).astype(self.dtype).reshape(-1)
        if out is None:
            return vectors
        target = ensure_contiguous_ndarray(out).view(self.dtype)
        target[...] = vectors
        return target

    def get_config(self) -> dict[str, Any]:
        """Return what makes the same codec again, as JSON."""
        encoded = base64.b64encode(self._codec.to_bytes()).decode("ascii")
        return {"id": self.codec_id, "codec": encoded, "dtype": self.dtype}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WaterfillCodec):
            return NotImplemented
        mine, theirs = self._codec.fingerprint, other._codec.fingerprint
        return (mine, self.dtype) == (theirs, other.dtype)

    def __hash__(self) -> int:
        return hash((self._codec.fingerprint, self.dtype))

    def __repr__(self) -> str:
        d, size = self._codec.d, self._codec.code_size
        return f"WaterfillCodec({d} dimensions in {size} bytes, dtype={self.dtype!r})"
