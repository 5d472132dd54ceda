"""Searching under load: concurrent queries in batches, results that are remembered, limits."""
