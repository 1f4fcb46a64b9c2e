"""The choice of implementation that makes a graph fit a board."""
