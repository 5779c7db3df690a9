"""The HTTP API and everything that touches the database."""
