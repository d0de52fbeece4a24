"""The page: one HTML file with the answers of a sweep, its figures, and its runs to look at. No network, no server."""
