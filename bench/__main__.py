"""Run benchmarks: all of them, or those named."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("start", "call", "resolve", "metrics", "prices", "ledger", "limits", "guard", "ramp", "rollout", "rollback", "shadow")


def main() -> int:
    """Run what was asked for; returns an exit status."""
    asked = sys.argv[1:] or list(NAMES)
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    for name in asked:
        import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
