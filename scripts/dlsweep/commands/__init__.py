"""What scripts/sweep.py offers."""
