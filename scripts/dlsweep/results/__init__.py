"""Records on disk -> tables, leaderboards, exports."""
