"""Strategies as pure state machines: signals in, actions out."""
