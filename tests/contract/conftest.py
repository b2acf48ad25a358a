"""Which fixtures do contract suites share? The clusters under test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.subjects import SUBJECTS, Subject


@pytest.fixture(params=SUBJECTS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with request.param(request) as found:
        yield found
