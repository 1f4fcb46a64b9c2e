"""Compression of the LeNets on MNIST, and of networks without a softmax, down to the emitted image."""
