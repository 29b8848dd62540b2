"""`python -m desk`: the service on a port of this machine, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse

from aiohttp import web

from desk.server import make_app

parser = argparse.ArgumentParser(prog="python -m desk", description="The help desk of a travel agency.")
parser.add_argument("--port", type=int, default=8080)
web.run_app(make_app(), host="127.0.0.1", port=parser.parse_args().port)
