"""An index that lives in a folder: see `waterfill.open_index`."""

from waterfill.folder.index import FolderIndex, FolderIndexFlat, FolderIndexIVF

__all__ = ["FolderIndex", "FolderIndexFlat", "FolderIndexIVF"]
