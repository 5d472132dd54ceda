"""CUDA devices: memory, kernels compiled at first use, and encoding and scans with them.

Nothing here imports CUDA before a device is opened.
"""
