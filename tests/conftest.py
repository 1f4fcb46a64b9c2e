"""Random examples are the same in every run; BOARDFIT_EXPLORE=1 draws fresh ones.

    BOARDFIT_EXPLORE=1 make fast

What fails then is printed with the values that make it fail; they go into the test as an `@example`.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("explore" if os.environ.get("BOARDFIT_EXPLORE", "0") not in ("", "0") else "fixed")
