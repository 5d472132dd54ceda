"""Presentation of results: the HTML report, Matplotlib figures, notebook tables."""
