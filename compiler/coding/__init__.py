"""Entropy coding of sparse integer matrices: the stored form of compressed weights, decoded by the kernels."""
