"""The studio: a local web application to watch, correct, show examples, review, browse a pool and run jobs."""
