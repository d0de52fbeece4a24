"""The figures, and what the report says beside them."""
