"""One file per module, named after it; `laws` are the contracts they inherit, `problems` the exact flows."""

import pytest

# A law's failure then shows the numbers compared, as a test's own does.
pytest.register_assert_rewrite("tests.laws")
