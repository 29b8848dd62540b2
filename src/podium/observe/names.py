"""The names of OpenTelemetry's conventions for generative AI, as far as Podium uses them.

Theory. Dashboards are made for these names, so metrics and spans use them where they exist, and names of their own (`podium.*`)
for what the conventions do not know: tiers, experiments, causes. They are in development; this is their state of
https://github.com/open-telemetry/semantic-conventions-genai (2026), after `gen_ai.system` had become `gen_ai.provider.name`.

Rules. Attempts are the conventions' operations: each is one call of one model of one provider. A request is Podium's own.
"""

from __future__ import annotations

from podium.observe.cell import TOKEN_BOUNDS

OPERATION = "chat"
DURATION = "gen_ai.client.operation.duration"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
TOKEN_USAGE = "gen_ai.client.token.usage"

DURATION_STEPS = range(14)
"""Powers of two of the durations' bounds, in hundredths of a second."""
DURATION_BOUNDS = tuple(2**step / 100 for step in DURATION_STEPS)
"""0.01, 0.02, ... 81.92 seconds."""
USAGE_BOUNDS = TOKEN_BOUNDS

_PROVIDERS = {
    "bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}


def provider_name(kind: str, provider: str) -> str:
    """Return the conventions' name of a provider: its kind's well-known value, else its kind, else its own name."""
    return _PROVIDERS.get(kind, kind) if kind and kind != "custom" else provider
