"""Random examples are the same in every run; BOARDFIT_EXPLORE=1 draws fresh ones. The cache is a folder of its own.

    BOARDFIT_EXPLORE=1 make fast

What fails then is printed with the values that make it fail; they go into the test as an `@example`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("explore" if os.environ.get("BOARDFIT_EXPLORE", "0") not in ("", "0") else "fixed")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is taken from the user's cache, and nothing is left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARDFIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
