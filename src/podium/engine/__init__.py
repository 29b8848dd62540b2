"""The engine: what performs the decisions. The only room that awaits a provider."""
