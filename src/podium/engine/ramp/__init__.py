"""Ramps at work: what calls showed, whose turn it is to judge, and the steps that follow."""
