"""Training over the IR: any float graph with trainable ops is fine-tuned under the constraints of compression.

TensorFlow does the arithmetic; it is an optional dependency (`pip install boardfit[train]`) and imported only when a
network is built. The graph stays the one description of a network: training takes a graph and gives a graph.
"""
