"""Responses that clients may ask for again: a bounded table in SQLite or any database that SQLAlchemy knows."""
