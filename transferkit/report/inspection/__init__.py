"""Pages of what was found in images: by an inspection, or by a search."""

__all__: list[str] = []
