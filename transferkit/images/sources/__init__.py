"""Where images come from: one file for each kind of source."""

__all__: list[str] = []
