"""How Alembic reaches the state: over the connection that `monitor.state` hands in."""

from alembic import context

connection = context.config.attributes["connection"]
# Batch mode: SQLite cannot alter most things in place.
context.configure(connection=connection, target_metadata=None, render_as_batch=True, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
