"""The 0.13 bundle on disk: how it is written, found again and loaded."""
