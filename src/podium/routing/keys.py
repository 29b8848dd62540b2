"""Whose key a request goes out with: the user's own, or the company's.

Theory. A provider's key is who pays. A user of the snapshot may bring keys of their own; whether the company's may stand in
where there is none is the user's `mode`.

Rules.
- The user's own key comes first. Under `shared` the company's serves where there is none; under `byok` it never does.
- A provider that is asked without any key (`local`) is anybody's, whatever the mode. One that the config gives a key wants one.
- An own key lifts the want of a company's key, and nothing else: a disabled provider stays disabled.
"""

from __future__ import annotations

from podium.routing.names import why_unusable
from podium.routing.snapshot import Provider, User
from podium.routing.spec import quote
from podium.types import Secret


def key_for(provider: Provider, user: User | None) -> Secret | None:
    """Return the key that a user's request to a provider is sent with; None: it is sent without one.

    A user whom the snapshot does not know (None) has the company's. Where `why_skip` gives a reason, nothing is to be sent.
    """
    own = own_key(provider, user)
    if own is not None:
        return own
    return provider.api_key if user is None or user.mode == "shared" else None


def own_key(provider: Provider, user: User | None) -> Secret | None:
    """Return the user's own key of a provider."""
    return user.keys.get(provider.name) if user is not None else None


def why_skip(provider: Provider, user: User | None) -> str | None:
    """Return why a provider cannot be asked for a user; None: it can."""
    unusable = why_unusable(provider)
    if user is None or not provider.enabled:
        return unusable
    if own_key(provider, user) is not None:
        return None
    if user.mode == "byok" and (provider.api_key is not None or unusable is not None):
        return (
            f"user {quote(user.id)} brings their own keys (`mode: byok`) and has none for {quote(provider.name)}; "
            f"set {quote(f'keys.{provider.name}')} in their config"
        )
    return unusable


def whose_key(provider: Provider, user: User | None) -> str | None:
    """Say whose key a provider is asked with, as a sentence; None where the user has no say in it."""
    if user is None or not (user.keys or user.mode == "byok"):
        return None
    name, whose = quote(provider.name), f"user {quote(user.id)}"
    if own_key(provider, user) is not None:
        return f"Provider {name} is asked with the own key of {whose}."
    if key_for(provider, user) is not None:
        return f"Provider {name} is asked with the company's key: {whose} has none for it (`mode: shared`)."
    return f"Provider {name} is asked without a key."
