"""Podium: one call to the right model at any provider, by a strategy, with its reasons.

The public names, loaded when first used: `import podium` itself costs almost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.engine.language_model import LanguageModel as LanguageModel
    from podium.engine.language_model import generate_text as generate_text
    from podium.engine.language_model import stream_text as stream_text
    from podium.engine.models import Models as Models
    from podium.engine.models import create_models as create_models
    from podium.engine.models import load_models as load_models
    from podium.engine.stream import TextStream as TextStream
    from podium.errors import AllTargetsFailed as AllTargetsFailed
    from podium.errors import ConfigError as ConfigError
    from podium.errors import LimitError as LimitError
    from podium.errors import PodiumError as PodiumError
    from podium.errors import ProviderError as ProviderError
    from podium.errors import RequestError as RequestError
    from podium.errors import SpecError as SpecError
    from podium.types import Media as Media
    from podium.types import Message as Message
    from podium.types import Result as Result
    from podium.types import Text as Text
    from podium.types import Tool as Tool
    from podium.types import ToolCall as ToolCall
    from podium.types import ToolResult as ToolResult

__version__ = "0.1.0"

_HOMES = {
    "AllTargetsFailed": "errors",
    "ConfigError": "errors",
    "LanguageModel": "engine.language_model",
    "LimitError": "errors",
    "Media": "types",
    "Message": "types",
    "Models": "engine.models",
    "PodiumError": "errors",
    "ProviderError": "errors",
    "RequestError": "errors",
    "Result": "types",
    "SpecError": "errors",
    "Text": "types",
    "TextStream": "engine.stream",
    "Tool": "types",
    "ToolCall": "types",
    "ToolResult": "types",
    "create_models": "engine.models",
    "generate_text": "engine.language_model",
    "load_models": "engine.models",
    "stream_text": "engine.language_model",
}

__all__ = [
    "AllTargetsFailed",
    "ConfigError",
    "LanguageModel",
    "LimitError",
    "Media",
    "Message",
    "Models",
    "PodiumError",
    "ProviderError",
    "RequestError",
    "Result",
    "SpecError",
    "Text",
    "TextStream",
    "Tool",
    "ToolCall",
    "ToolResult",
    "create_models",
    "generate_text",
    "load_models",
    "stream_text",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'podium' has no attribute {name!r}")
    value = getattr(import_module(f"podium.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
