"""Limits that hold across processes: leases of what remains, out of which each process decides in memory."""
