"""Readers of vector files, one module for each family of formats."""
