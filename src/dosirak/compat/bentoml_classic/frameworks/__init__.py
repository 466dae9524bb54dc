"""Artifacts for ML libraries, one file for each; a library is imported when first needed."""
