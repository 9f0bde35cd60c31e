"""The report for people: one HTML file with its pictures in it, and nothing that is fetched from elsewhere."""
