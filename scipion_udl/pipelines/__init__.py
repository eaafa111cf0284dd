"""Methods put together: a run, its classes, what came of it."""
