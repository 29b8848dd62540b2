"""`python ask_many.py 500`: ask the desk as that many travellers, each for the first time, eight at once."""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

parser = argparse.ArgumentParser(description="Ask the desk as many travellers would.")
parser.add_argument("travellers", type=int)
parser.add_argument("--port", type=int, default=8080)
arguments = parser.parse_args()
run = time.time_ns()


def ask(number: int) -> bool:
    """Ask as one traveller; return whether the answer was right."""
    asked = {"user": f"traveller-{run}-{number}", "question": "What is the capital of Mongolia?"}
    request = urllib.request.Request(f"http://127.0.0.1:{arguments.port}/ask", json.dumps(asked).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer) == {"answer": "Ulaanbaatar"}


with ThreadPoolExecutor(8) as travellers:
    right = sum(travellers.map(ask, range(arguments.travellers)))
print(f"{arguments.travellers} travellers asked, {right} were answered rightly.")
