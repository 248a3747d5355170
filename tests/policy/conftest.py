from __future__ import annotations

from pathlib import Path

import pytest

from tests.policy.loading import Loader, PolicyLoader


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


@pytest.fixture
def policies(tmp_path: Path) -> PolicyLoader:
    return PolicyLoader(tmp_path)
