"""Desired state in a database, with what guards it: tokens, secrets, audit, backups."""
