"""Indexes of codes, with the methods of a ``faiss.Index``."""
