"""The extension type ``waterfill.codes``: fixed-size binary, and which codec made it."""

from __future__ import annotations

import json
import re
from typing import Any

from waterfill._util.optional import require
from waterfill.codec import Codec
from waterfill.data.arrow_codes import EXTENSION

pa = require("pyarrow", "waterfill.columns", "parquet")

_VERSION = 1
_ExtensionType: Any = pa.ExtensionType


class CodesType(_ExtensionType):  # type: ignore[misc]  # pyarrow has no types
    """Type of a column of codes: fixed-size binary with the codec's fingerprint in its metadata.

    `CodesType.of` makes it from a codec. Arrow, Parquet and Feather files keep it; programs that
    do not know it read plain binary.

    Parameters
    ----------
    fingerprint : str
        `Codec.fingerprint`: 64 hexadecimal digits.
    d : int
        Dimensions of the vectors.
    code_size : int
        Bytes of a code.
    """

    def __init__(self, fingerprint: str, d: int, code_size: int) -> None:
        self._fingerprint, self._d = fingerprint, d
        super().__init__(pa.binary(code_size), EXTENSION)

    @classmethod
    def of(cls, codec: Codec) -> CodesType:
        """Return the type of the codes of a codec.

        Parameters
        ----------
        codec : Codec
            The codec.

        Raises
        ------
        TypeError
            If `codec` is not a `Codec`.
        """
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        return cls(codec.fingerprint, codec.d, codec.code_size)

    @property
    def fingerprint(self) -> str:
        """`Codec.fingerprint` of the codec."""
        return self._fingerprint

    @property
    def d(self) -> int:
        """Dimensions of the vectors."""
        return self._d

    @property
    def code_size(self) -> int:
        """Bytes of a code."""
        return int(self.storage_type.byte_width)

    def __arrow_ext_serialize__(self) -> bytes:
        facts = {"version": _VERSION, "codec": self.fingerprint, "d": self.d}
        return json.dumps(facts, separators=(",", ":")).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> CodesType:
        """Read the metadata of a file, which may come from anybody."""
        try:
            facts = json.loads(serialized)
            version, fingerprint, d = facts["version"], facts["codec"], facts["d"]
            if not re.fullmatch("[0-9a-f]{64}", fingerprint) or type(d) is not int or d < 1:
                raise ValueError(f"codec {fingerprint!r}, d {d!r}")
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(f"{EXTENSION}: the column's metadata is damaged: {error}") from None
        if version != _VERSION:
            raise ValueError(
                f"{EXTENSION}: expected metadata of version {_VERSION}, got {version!r}; "
                "it is that of a later waterfill"
            )
        if not pa.types.is_fixed_size_binary(storage_type):
            raise ValueError(f"{EXTENSION}: expected fixed-size binary, got {storage_type}")
        return cls(fingerprint, d, storage_type.byte_width)

    def __eq__(self, other: object) -> bool:  # pyarrow's compares only name and storage
        return isinstance(other, CodesType) and self.__reduce__() == other.__reduce__()

    def __ne__(self, other: object) -> bool:  # pyarrow's does not call the one above
        return not self == other

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    def __reduce__(self) -> tuple[type[CodesType], tuple[str, int, int]]:
        return CodesType, (self.fingerprint, self.d, self.code_size)

    def __str__(self) -> str:
        return f"{EXTENSION}<codec={self.fingerprint[:16]}, d={self.d}, bytes={self.code_size}>"


def _register() -> None:
    """Make pyarrow know the type. Fields of it are of this class afterwards."""
    try:
        pa.register_extension_type(CodesType("0" * 64, 1, 1))
    except pa.ArrowKeyError:  # this module was reloaded
        pa.unregister_extension_type(EXTENSION)
        pa.register_extension_type(CodesType("0" * 64, 1, 1))


_register()
