"""Fixtures and settings for all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing about correctness, and shared machines are uneven.
settings.register_profile("package", deadline=None, print_blob=True)
settings.load_profile("package")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of public tables beside the repository; the test is skipped where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public tables in ../shared/data are not on this machine")
    return folder
