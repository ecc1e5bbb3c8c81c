"""Results in other tools' formats, and the `VideoResult` whose doors lead there. Above the data types of `media`."""
