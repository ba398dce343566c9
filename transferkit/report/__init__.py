"""What was measured, as text, as the facts of a model card, and as a picture.

Nothing here runs a model: the functions take reports, predictions and benchmark rows.
"""

__all__: list[str] = []
