"""The database's history, by Alembic; `prepare` brings a database to its newest form."""
