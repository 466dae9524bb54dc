"""The classic artifacts for ML libraries."""
