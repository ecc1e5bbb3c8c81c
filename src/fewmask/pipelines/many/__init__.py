"""Videos of a manifest by many workers, each done exactly once, with results in a folder or an object store."""
