"""Routing: what a spec means and how a strategy proceeds. Pure: time, chance and health are arguments."""
