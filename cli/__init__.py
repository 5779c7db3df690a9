"""The `vocal-remover` command: start the service, show what it can do, look after it."""
