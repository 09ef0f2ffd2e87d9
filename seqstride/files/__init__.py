"""Files that users give, and files that are whole or not there."""
