"""Zarr's format 3: the codec of `waterfill.integrations.numcodecs` as an array's serializer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from waterfill._util.optional import required
from waterfill.codec import Codec
from waterfill.integrations.numcodecs import WaterfillCodec

with required("zarr", "waterfill.integrations.zarr", "zarr"):
    from zarr.abc.codec import ArrayBytesCodec

__all__ = ["WaterfillSerializer"]


@dataclass(frozen=True)
class WaterfillSerializer(ArrayBytesCodec):
    """Encodes each row of a chunk as a vector; lossy.

    Pass it as `serializer` of ``zarr.create_array``. The trained codec is part of the metadata.

    Parameters
    ----------
    codec : WaterfillCodec or Codec
        A `Codec` stands for an array of float32.

    Raises
    ------
    TypeError
        If `codec` is neither.
    """

    is_fixed_size = True

    codec: Any

    def __post_init__(self) -> None:
        if isinstance(self.codec, Codec):
            object.__setattr__(self, "codec", WaterfillCodec(self.codec))
        if not isinstance(self.codec, WaterfillCodec):
            raise TypeError(
                f"codec must be a WaterfillCodec or a Codec, got {type(self.codec).__name__}"
            )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> WaterfillSerializer:
        """Make the serializer that the metadata of an array name.

        Parameters
        ----------
        data : dict
            The metadata, of `to_dict`.

        Returns
        -------
        WaterfillSerializer
            An equal serializer.

        Raises
        ------
        ValueError, TypeError
            As `WaterfillCodec`.
        """
        return cls(WaterfillCodec(**data["configuration"]))

    def to_dict(self) -> dict[str, Any]:
        """Return what the metadata of an array hold."""
        configuration = self.codec.get_config()
        return {"name": configuration.pop("id"), "configuration": configuration}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raise an error unless the array goes with the codec.

        Parameters
        ----------
        shape : tuple of int
            Of the array.
        dtype : zarr.core.dtype.ZDType
            Of the array.
        chunk_grid : object
            Ignored.

        Raises
        ------
        ValueError
            If the dtype or the last dimension is another one.
        """
        native = dtype.to_native_dtype().str
        if native != self.codec.dtype:
            raise ValueError(
                f"dtype: expected {self.codec.dtype}, got {native}; make the codec with "
                f"dtype={native!r}"
            )
        d = self.codec.codec.d
        if not shape or shape[-1] != d:
            raise ValueError(f"shape: expected {d} dimensions in the last axis, got {shape}")

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Return the bytes of a chunk's codes.

        Parameters
        ----------
        input_byte_length : int
            Bytes of the chunk's vectors.
        chunk_spec : zarr.core.array_spec.ArraySpec
            Its dtype is that of the vectors.

        Returns
        -------
        int
            Bytes of the codes.
        """
        codec = self.codec.codec
        vectors = input_byte_length // (codec.d * chunk_spec.dtype.to_native_dtype().itemsize)
        return int(vectors * codec.code_size)

    async def _encode_single(self, chunk_array: Any, chunk_spec: Any) -> Any:
        codes = await asyncio.to_thread(self.codec.encode, chunk_array.as_ndarray_like())
        return chunk_spec.prototype.buffer.from_bytes(codes.tobytes())

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        vectors = await asyncio.to_thread(self.codec.decode, chunk_bytes.to_bytes())
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(vectors.reshape(chunk_spec.shape))
