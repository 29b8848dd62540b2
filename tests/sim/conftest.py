"""A sim on the test's own loop, and bodies to send to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from podium.sim import Sim


@pytest.fixture
async def sim() -> AsyncIterator[Sim]:
    async with Sim(seed=7) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session
