"""Find what is likely wrong with a data set, by the features that the store has of it."""

__all__: list[str] = []
