"""Alembic migrations of the state database. What lives here: schema changes. What must not: application code."""
