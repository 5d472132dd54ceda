"""Helpers that know nothing of vectors: argument validation, files, optional packages."""
