"""The mathematics of heads. It takes arrays and tensors, and knows nothing of estimators.

The linear models are read in this order. `losses` holds the losses of linear scores with their
derivatives; `rows` the standardised features; `objective` the penalised mean loss of both, its
gradient and its Hessian; `newton` the solver; `path` the solutions along falling strengths of the
penalty; `linear` the problems that heads and protocols pose; `selection` the choice among the
models of a path; and `logistic` the choice of C for logistic regressions.

The others stand by themselves. `kernel` holds least-squares machines with a kernel, `ridge` ridge
regression at many strengths, `discriminant` linear discriminant analysis, `perceptron` small
networks, `neighbors` the search for near rows, `trees` grown trees as arrays, and `boosting` the
libraries that boost them.
"""

__all__: list[str] = []  # each file is imported by its own name
