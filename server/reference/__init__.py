"""The small checkpoint that ships with the daemon, and how it was trained."""
