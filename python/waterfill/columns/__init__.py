"""Codes as columns of Arrow tables, in Parquet files and elsewhere, searched from there.

Importing it registers the extension type ``waterfill.codes``: ``pip install ".[parquet]"``.
"""

from waterfill.columns.codec_files import find_codec, keep_codec
from waterfill.columns.codes_type import CodesType
from waterfill.columns.encoding import as_codes, decode_column, encode_column
from waterfill.columns.loading import index_codes

__all__ = [
    "CodesType",
    "as_codes",
    "decode_column",
    "encode_column",
    "find_codec",
    "index_codes",
    "keep_codec",
]
