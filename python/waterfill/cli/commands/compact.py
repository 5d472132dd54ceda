"""The command ``waterfill compact``: merge the segments of an index in a folder."""

from __future__ import annotations

from waterfill.cli.folders import changed_folder, folder_bytes
from waterfill.cli.options import FolderPath
from waterfill.cli.output import Output, size


def compact(out: Output, folder: FolderPath) -> None:
    """Merge the segments of an index in a folder, and free the space of removed vectors.

    Needs room for a copy of the index on the disk. If it is interrupted, the
    folder is as before.

    Example:
      waterfill compact corpus.wfx
    """
    with changed_folder(folder) as index:
        before = folder_bytes(folder)
        index.flush()
        merged = len(index.segments)
        removed = sum(segment["removed"] for segment in index.segments)
        with out.progress("compacting"):
            index.compact()
        segments, n = len(index.segments), index.ntotal
    after = folder_bytes(folder)
    document = {
        "folder": str(folder),
        "n": n,
        "segments": segments,
        "segments_before": merged,
        "removed": removed,
        "bytes": after,
        "bytes_before": before,
    }
    out.show(
        document,
        f"{folder}: {segments} of {merged} segments, {removed:,} removed vectors dropped, "
        f"{size(after)} instead of {size(before)}",
    )
