"""One browser and one `dtm dev` for a file of tests."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Watched, chromium, watched
from tests.support.dev_process import DevProcess
from tests.support.programs import MissingProgram

Open = Callable[..., AbstractContextManager[Watched]]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevProcess]:
    process = DevProcess(tmp_path_factory.mktemp("dev")).start()
    yield process
    print(process.output())
    process.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as browser:
            yield browser
    except MissingProgram as error:
        pytest.skip(str(error))


@pytest.fixture
def opened(browser: Browser, dev: DevProcess) -> Open:
    """Return a function that opens a page of its own, with options of the browser's context."""
    return partial(watched, browser, dev.url)
