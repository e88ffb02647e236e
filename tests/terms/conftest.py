"""What the tests of terms share: noise that is the same in every run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _noise() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
