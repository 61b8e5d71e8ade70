"""The tour of tests/fundamentals, the same tests, through the edge of the compose stack."""

import pytest

from tests.fundamentals.test_1_start import *  # noqa: F403
from tests.fundamentals.test_2_watch import *  # noqa: F403
from tests.fundamentals.test_3_resume import *  # noqa: F403
from tests.fundamentals.test_4_cancel import *  # noqa: F403

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]
