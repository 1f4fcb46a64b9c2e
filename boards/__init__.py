"""Board descriptions (data only)."""
