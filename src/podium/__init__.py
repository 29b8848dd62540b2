"""Podium: one call to any provider, tier or experiment."""
