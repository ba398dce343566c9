"""The page of a model that predicts masks, boxes or maps of anomalies."""

__all__: list[str] = []
