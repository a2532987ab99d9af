"""One server for all tests of a module."""

import pytest

from tests.explorer.serving import serving


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("uploads")) as address:
        yield address
