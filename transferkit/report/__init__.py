"""Show measurements as text, as facts of a model card, and as pictures.

Nothing here runs a model: the functions take reports, predictions and benchmark rows.
"""

__all__: list[str] = []
