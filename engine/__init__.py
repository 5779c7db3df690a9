"""Signal processing and inference: a song in, its stems out. Knows no web, no database, no queue."""
