"""How many files a process may hold open: each connection is one, and most systems begin with 1,024."""

from __future__ import annotations

import contextlib
import resource


def allow_many() -> None:
    """Raises the limit as far as this user may; some systems do not let it be raised so far, and it stays."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
