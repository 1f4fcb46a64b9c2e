"""Rewrites that spend accuracy to save resources."""
