"""Alembic's door: runs the steps on the connection that `migrating` gives it.

The transaction is the caller's, so that all steps become true together.
"""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    transactional_ddl=True,
    transaction_per_migration=False,
)
context.run_migrations()
