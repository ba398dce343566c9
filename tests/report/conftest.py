"""A browser that opens pages, for every test of a page."""

import pytest

from tests.browser import NAMES, Browser, chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if chromium() is None:
        pytest.skip(f"no browser is installed ({', '.join(NAMES)}); apt-get install chromium")
    found = Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()
