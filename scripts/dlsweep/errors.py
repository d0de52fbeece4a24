"""A user's mistake."""

from __future__ import annotations


class RecordError(Exception):
    """A record that cannot be trusted; its text says which and why."""


class ConfigError(Exception):
    """A mistake that the user can mend; its text is the whole message."""
