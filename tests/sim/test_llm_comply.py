"""An outside judge, llm-comply, holds what the simulated providers serve to the vendors' published schemas."""

import subprocess
import sys
from pathlib import Path

import pytest

from podium.sim import Sim

JUDGE = Path(sys.executable).with_name("llm-comply")
# Real answers of the vendors lack these too, which the schemas call required.
CHAT = ["-i", "logprobs,system_fingerprint"]
ANTHROPIC = [
    "--auth-header", "x-api-key", "--no-bearer", "-H", "anthropic-version:2023-06-01",
    "-i", "container,server_tool_use,output_tokens_details,given schemas",
]  # fmt: skip


@pytest.mark.parametrize(
    ("format", "model", "options"), [("openai-chat", "gpt-4o", CHAT), ("anthropic", "claude-haiku-4-5", ANTHROPIC)]
)
@pytest.mark.skipif(not JUDGE.exists(), reason="llm-comply is not installed beside this Python")
def test_llm_comply_passes_all_its_tests(format: str, model: str, options: list[str]) -> None:
    with Sim(seed=3) as sim:
        command = [str(JUDGE), "--format", format, "-u", f"{sim.url}/v1", "-k", "sim", "-m", model]
        judged = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "tests passed" in judged.stdout
    assert "✗" not in judged.stdout
