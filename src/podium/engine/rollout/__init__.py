"""Rollouts at work: which arm a call takes, how rollouts stand and are changed, and the wrappers for existing code."""
