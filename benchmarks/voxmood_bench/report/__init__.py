"""What a run found: the typed report, its file, its tables, its HTML page and the gate on it."""
