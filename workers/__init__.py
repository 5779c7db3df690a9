"""The Celery side: thin functions that claim a task, call services and the engine, and write what came of it."""
