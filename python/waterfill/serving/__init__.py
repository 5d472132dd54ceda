"""Serving under load: admission limits, batches of concurrent queries, cached results."""
