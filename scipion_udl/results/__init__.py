"""What is written at the end of a run: tables, averages, summary.json, and what particles are joined to later."""
