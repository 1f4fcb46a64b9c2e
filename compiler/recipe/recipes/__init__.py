"""Recipe files (data only)."""
