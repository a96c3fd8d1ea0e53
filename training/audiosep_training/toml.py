"""TOML on every Python that is supported: ``loads(text)`` gives a dictionary."""

import sys

if sys.version_info >= (3, 11):
    from tomllib import loads
else:
    from tomli import loads

__all__ = ["loads"]
