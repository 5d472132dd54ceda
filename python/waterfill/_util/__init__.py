"""Helpers that do not depend on vectors: argument validation, files, optional packages."""
