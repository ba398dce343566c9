"""The mathematics of heads: arrays and tensors in, solutions out, nothing of estimators."""
