"""Files of users: audio, tables and texts; and output files that are complete or absent."""
