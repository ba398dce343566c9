"""The page of a benchmark's results."""

__all__: list[str] = []
