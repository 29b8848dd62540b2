"""What a prompt says where a target has no setting for it.

Theory. A form that a target cannot hold its answer to is asked for in words; so is a turn of instructions, where a target has
no role for them.
"""

from __future__ import annotations

from typing import Any

from podium.types import Output
from podium.wire.documents import dump_json

JSON_INSTRUCTION = "Answer with one valid JSON object and nothing else: no words before or after it, no code fence."
"""What stands in for a JSON mode."""


def ask_for_json(output: Output) -> str:
    """Return the words that ask for an output of the kind `json` or `json_schema`."""
    if output.schema is None:
        return JSON_INSTRUCTION
    return f"{JSON_INSTRUCTION}\nThe object must satisfy this JSON Schema:\n{dump_json(output.schema).decode()}"


def named_schema(output: Output) -> tuple[dict[str, Any], list[str]]:
    """Return the schema with the output's name and description as its `title` and `description`, and which of the two it
    cannot say since it says something else there itself.
    """
    schema = {"type": "object"} if output.schema is None else output.schema
    unsaid: list[str] = []
    for field, value, key in (("name", output.name, "title"), ("description", output.description, "description")):
        if not value or schema.get(key) == value:
            continue
        if key in schema:
            unsaid.append(field)
        else:
            schema = {**schema, key: value}
    return schema, unsaid


def as_user_text(instructions: str) -> str:
    """Return instructions as a user may say them: marked, so that the model can tell them from the user's own words."""
    return f"<system>\n{instructions}\n</system>"
