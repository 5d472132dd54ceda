"""The command ``waterfill encode``: encode a file of vectors into a file of codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from waterfill._util.atomic_file import atomic_write
from waterfill.cli.folders import read_codec
from waterfill.cli.inputs import check_output, open_stored, sum_warnings
from waterfill.cli.options import Format, Key, VectorFile, out_file
from waterfill.cli.output import Output, size
from waterfill.data.rows import Rows


def encode(
    out: Output,
    codec: Annotated[
        Path, typer.Argument(metavar="CODEC", help="A codec, or an index that has one.")
    ],
    file: VectorFile,
    output: Annotated[Path, out_file("The codes, uint8 of shape (n, code size)", "NPY")],
    key: Key = None,
    format: Format = None,
) -> None:
    """Encode vectors, one block at a time.

    Example:
      waterfill encode codec.wf base.npy -o codes.npy
    """
    check_output(output, (codec, file))
    encoder = read_codec(codec)
    vectors = open_stored(file, key, format)
    shape = (vectors.n, encoder.code_size)
    rows = Rows(vectors, d=encoder.d)
    with (
        out.progress("encoding", vectors.n) as vectors.advance,
        sum_warnings(vectors),
        atomic_write(output) as target,
    ):
        np.lib.format.write_array_header_1_0(
            target, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        for _, block in rows.blocks():
            target.write(encoder.encode(block).data)
    document = {"output": str(output), "n": vectors.n, "code_size": encoder.code_size}
    out.show(
        document, f"{output}: {shape[0]:,} codes of {shape[1]} bytes, {size(shape[0] * shape[1])}"
    )
