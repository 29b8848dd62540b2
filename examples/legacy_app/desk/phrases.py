"""Phrases for travellers, in the language of the country. Blocking: the printer of phrase books uses it too."""

from __future__ import annotations

from desk.clients import blocking_client


def translate(phrase: str, language: str) -> str:
    """Translate a phrase."""
    return ask(f'Translate "{phrase}" into {language}.')


def ask(prompt: str) -> str:
    """Ask a small model."""
    completion = blocking_client().chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": prompt}],
    )
    return completion.choices[0].message.content or ""
