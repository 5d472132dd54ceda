"""A sample, parted into stored vectors and queries, with the true neighbours."""
