"""The steps from each schema of the platform's database to the next, run by Alembic."""
