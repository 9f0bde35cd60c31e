"""What the front end costs: see `python -m tests.bench.frontend --help`, and docs/frontend.md for its figures."""
