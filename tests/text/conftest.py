"""The trained folders, shared by all tests of text."""

import pytest
from text.samples import Library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("tokenizers"))
