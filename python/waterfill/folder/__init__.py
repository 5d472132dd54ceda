"""An index that lives in a folder: see `waterfill.open_index`."""

from waterfill.folder.index import FolderIndex, FolderIndexFlat, FolderIndexIVF
from waterfill.folder.opening import open_index

__all__ = ["FolderIndex", "FolderIndexFlat", "FolderIndexIVF", "open_index"]
