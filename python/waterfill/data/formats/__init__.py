"""Readers of vector files, one module per family of formats."""
