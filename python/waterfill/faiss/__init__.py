"""Conversion to and from FAISS, which is imported only when a function needs it."""
