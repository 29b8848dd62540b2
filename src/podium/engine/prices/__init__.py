"""Prices at work: what is bundled, fetched and configured, merged into one book."""
