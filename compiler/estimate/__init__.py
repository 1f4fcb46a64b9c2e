"""What a graph costs on a board."""
