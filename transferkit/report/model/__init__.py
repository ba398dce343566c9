"""The page of a model that predicts classes, several labels or numbers of whole images."""

__all__: list[str] = []
