"""Measure recall: splits of a sample, exact neighbours, forecasts for larger collections."""
