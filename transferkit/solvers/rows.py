"""Standardised rows as the linear solver reads them: block by block, with their spectrum.

Features are centred and, if asked for, divided by their standard deviation,

    z = (x - mean) / scale.

Centring changes no prediction, as the intercept isn't penalised, and makes the problem easier to
solve; dividing by the scale makes the penalty weigh all features alike. `to_original` and
`from_original` take coefficients from z to x and back: ``w_x = w_z / scale`` and
``b_x = b_z - w_x · mean``.

With fewer rows than features, the solution is a combination of the rows (the representer theorem;
Kimeldorf and Wahba 1970). A QR decomposition ``Z' = QR`` then gives the rows n coordinates
instead of d, and the problem is solved in these.

A block is made out of the original rows when it is asked for, so neither a memory-mapped file nor
rows that lie in a store are copied whole. Rows that fit easily into memory are standardised once
and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.datasets import is_unread

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Part", "Spectrum", "StandardizedRows", "select_rows"]

Array = NDArray[Any]
Part = tuple[Array, Array | None]
KnownSpectrum = Callable[[], tuple[Array, Array]]
# Numbers in one block, 32 MB in float32. Smaller blocks cost more in overhead than they save.
# A quarter of that, for code that must save memory.
BLOCK = 2**23
# Rows per feature that the spectrum is computed from. It guides the solver and changes no result.
ROWS_PER_FEATURE = 4
# Outside these bounds, differences and scales leave the range of float32.
LARGEST, SMALLEST = 1e30, 1e-30
# Products with fewer numbers than this are quick in float64 too.
SMALL = 2**19


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvectors and eigenvalues of the rows' covariance.

    Parameters
    ----------
    values : Tensor of shape (n_features,)
        Eigenvalues, at least 0.
    vectors : Tensor of shape (n_features, n_features)
        One eigenvector per column.
    """

    values: Tensor
    vectors: Tensor


class StandardizedRows:
    """Rows with standardised features, and the way of coefficients to the original ones and back.

    Parameters
    ----------
    parts : sequence of (ndarray, ndarray or None)
        Arrays, or unread rows, of shape (·, n_features), each with the rows of it that count
        (None: all).
    weight : ndarray of shape (n_samples,) or None
        Sample weights, for the mean and the variance.
    standardize : bool
        Whether each feature is brought to variance 1; it is centred in any case.
    device : str, default="cpu"
        Where products are computed.
    spectrum : callable, default=None
        Gives eigenvalues and eigenvectors of the covariance of these rows, or of more rows of
        the same kind, as `FeatureStatistics` knows them. It only guides the solver.

    Attributes
    ----------
    n, d : int
        Rows, and numbers of each in the problem that is solved: the features, or as many
        coordinates as there are rows if that is fewer.
    mean, inverse : ndarray of shape (n_features,)
        Mean of each feature, and what it is multiplied with after centring: 1 / scale.
    is_constant : ndarray of bool of shape (n_features,)
        Whether a feature is the same in all rows. It is 0 here, and its coefficient is too.
    dtype : torch.dtype
        Numeric type of the rows: float64 for float64 features, else float32.
    spectrum : Spectrum
        Of the rows' covariance; of a sample of them where none is given.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        weight: Array | None,
        *,
        standardize: bool,
        device: str = "cpu",
        spectrum: KnownSpectrum | None = None,
    ) -> None:
        import torch  # late: the list of heads shouldn't wait for it

        self.device = torch.device(device)
        self._parts = parts
        self.n = sum(len(X if rows is None else rows) for X, rows in parts)
        first = parts[0][0]
        self.n_features = self.d = int(first.shape[1])
        self.dtype = torch.float64 if first.dtype == np.float64 else torch.float32
        is_streamed = self._is_streamed()
        numbers = BLOCK // 4 if is_streamed else BLOCK
        self._step = max(256, numbers // self.d // 64 * 64)
        self._set_moments(weight, standardize)
        self._basis: Tensor | None = None
        self._vectors: Tensor | None = None
        self._kept: dict[torch.dtype, Tensor] = {}
        if self.n <= self.d:
            # Z' = QR, and the solution is a combination of the columns of Q.
            rows = torch.cat([block.double() for _, block in self._standardized(self._parts)])
            self._basis, triangle = torch.linalg.qr(rows.T)
            self._kept[self.dtype] = triangle.T.contiguous().to(self.dtype)
            self.d = self.n
        elif not is_streamed:
            self._kept[self.dtype] = torch.cat(
                [block for _, block in self._standardized(self._parts)]
            )
        if spectrum is None or self._basis is not None:
            self.spectrum = self._sampled_spectrum()
        else:
            known = (torch.tensor(part, dtype=self.dtype) for part in spectrum())
            self.spectrum = Spectrum(*(part.to(self.device) for part in known))

    def blocks(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Rows in order, a block at a time.

        Parameters
        ----------
        dtype : torch.dtype
            Numeric type wanted.

        Yields
        ------
        (slice, Tensor)
            The rows of the block; their values, of shape (n_block, d).
        """
        if self.dtype not in self._kept:
            for part, block in self._standardized(self._parts):
                yield part, block.to(dtype)
            return
        if dtype.itemsize < self.dtype.itemsize and dtype not in self._kept:
            self._kept[dtype] = self._kept[self.dtype].to(dtype)
        rows = self._kept.get(dtype, self._kept[self.dtype])
        for first in range(0, self.n, self._step):
            part = slice(first, min(first + self._step, self.n))
            yield part, rows[part].to(dtype)

    @property
    def is_in_memory(self) -> bool:
        """Whether the standardised rows are in memory. If not, each product computes them again."""
        return self.dtype in self._kept

    def vectors(self, dtype: torch.dtype) -> Tensor:
        """Eigenvectors of the covariance, in `dtype` if that is a narrower type."""
        vectors = self.spectrum.vectors
        if dtype.itemsize >= vectors.dtype.itemsize:
            return vectors
        if self._vectors is None or self._vectors.dtype != dtype:
            self._vectors = vectors.to(dtype)
        return self._vectors

    def to_original(self, coef: Tensor, intercept: Tensor) -> tuple[Array, Array]:
        """Coefficients on the original features that score as these do here, float64.

        Parameters
        ----------
        coef : Tensor of shape (n_scores, d)
            Coefficients on these rows, float64.
        intercept : Tensor of shape (n_scores,)
            Intercepts.

        Returns
        -------
        (ndarray of shape (n_scores, n_features), ndarray of shape (n_scores,))
            Coefficients and intercepts.
        """
        W = coef if self._basis is None else coef @ self._basis.T
        # Exactly 0 for a constant feature, whatever rounding left.
        original = (W.cpu().numpy() * self.inverse) * ~self.is_constant
        return original, intercept.cpu().numpy() - original @ self.mean

    def from_original(self, coef: Array, intercept: Array) -> tuple[Tensor, Tensor]:
        """Coefficients on these rows, float64: the inverse of `to_original`."""
        import torch

        W = torch.as_tensor(coef / self.inverse, dtype=torch.float64, device=self.device)
        b = torch.as_tensor(intercept + coef @ self.mean, dtype=torch.float64, device=self.device)
        return (W if self._basis is None else W @ self._basis), b

    def standardize(self, parts: Sequence[Part]) -> Callable[[], Iterator[Tensor]]:
        """Standardise other rows with this mean and scale, and move them to this device.

        Parameters
        ----------
        parts : sequence of (ndarray, ndarray or None)
            As in the constructor.

        Returns
        -------
        callable
            Gives their blocks, as often as it is called. They are kept in memory if these are.
        """
        if self.dtype in self._kept:
            kept = [block for _, block in self._standardized(parts)]
            return lambda: iter(kept)
        return lambda: (block for _, block in self._standardized(parts))

    def scores(
        self, others: Callable[[], Iterator[Tensor]], coef: Tensor, intercept: Tensor
    ) -> Array:
        """Score other rows.

        Parameters
        ----------
        others : callable
            What `standardize` returned.
        coef : Tensor of shape (n_scores, d)
            Coefficients on these rows.
        intercept : Tensor of shape (n_scores,)
            Intercepts.

        Returns
        -------
        ndarray of shape (n_samples, n_scores)
        """
        W = coef if self._basis is None else coef @ self._basis.T
        W, b = W.to(self.dtype), intercept.to(self.dtype)
        return np.concatenate([(block @ W.T + b).cpu().numpy() for block in others()])

    def _original(self, parts: Sequence[Part]) -> Iterator[tuple[slice, Array]]:
        done = 0
        for X, rows in parts:
            count = len(X if rows is None else rows)
            for first in range(0, count, self._step):
                at = slice(first, first + self._step)
                block = np.asarray(X[at] if rows is None else X[rows[at]])
                yield slice(done, done + len(block)), block
                done += len(block)

    def _standardized(self, parts: Sequence[Part]) -> Iterator[tuple[slice, Tensor]]:
        import torch

        kind = torch.float64 if self._is_extreme else self.dtype
        mean = torch.as_tensor(self.mean, dtype=kind)
        inverse = torch.as_tensor(self.inverse * ~self.is_constant, dtype=kind)
        for part, block in self._original(parts):
            made = torch.tensor(block, dtype=kind).sub_(mean).mul_(inverse)
            yield part, made.to(self.device, self.dtype)

    def _set_moments(self, weight: Array | None, standardize: bool) -> None:
        """Set `mean`, `inverse` and `is_constant`, from all rows in float64."""
        import torch

        total, mean, squares = 0.0, torch.zeros(self.d).double(), torch.zeros(self.d).double()
        low, high = torch.full((self.d,), torch.inf), torch.full((self.d,), -torch.inf)
        for part, block in self._few(self._original(self._parts)):
            rows = torch.tensor(block, dtype=torch.float64)
            w = torch.ones(len(rows)).double()
            if weight is not None:
                w = torch.tensor(weight[part], dtype=torch.float64)
            least, most = rows.aminmax(dim=0)
            low, high = torch.minimum(low, least), torch.maximum(high, most)
            # Means and sums of squares of two sets of rows merge exactly (Chan, Golub and
            # LeVeque 1983, "Algorithms for computing the sample variance").
            share = float(w.sum())
            if share == 0:
                continue
            own = (w @ rows) / share
            rows -= own
            squares += w @ rows.square_() + (own - mean).square() * total * share / (total + share)
            mean += (own - mean) * share / (total + share)
            total += share
        self.is_constant = (low == high).numpy()
        # Rounded to the type of the rows once, here, so that `to_original` undoes exactly
        # what `_standardized` does, also for features far from zero.
        largest = float(torch.maximum(low.abs(), high.abs()).max())
        spread = float(squares[squares > 0].min()) / total if (squares > 0).any() else 1.0
        self._is_extreme = not (largest < LARGEST and spread > SMALLEST**2)
        kind = np.float64 if self.dtype.itemsize == 8 or self._is_extreme else np.float32
        self.mean = mean.numpy().astype(kind).astype(np.float64)
        variance = squares.numpy() / total
        # scikit-learn's bound, below which a spread is only rounding and mustn't be magnified.
        eps = np.finfo(np.float64).eps
        noise = self.n * eps * variance + (self.n * mean.numpy() * eps) ** 2
        scale = np.where(variance <= noise, 1, np.sqrt(variance))
        inverse = 1 / scale if standardize else np.ones(self.d)
        self.inverse = inverse.astype(kind).astype(np.float64)

    def _few(self, blocks: Iterator[tuple[slice, Array]]) -> Iterator[tuple[slice, Array]]:
        """Divide blocks into parts of so few rows that they stay in the cache in float64."""
        few = max(16, 2**18 // self.d)
        for part, block in blocks:
            for first in range(0, len(block), few):
                rows = block[first : first + few]
                start = part.start + first
                yield slice(start, start + len(rows)), rows

    def _is_streamed(self) -> bool:
        import torch

        if self.device.type == "cuda":
            # Rows and their bfloat16 copy are kept in memory if enough is left for the rest.
            free, _ = torch.cuda.mem_get_info(self.device)
            return self.n * self.d * (self.dtype.itemsize + 2) > free / 2
        large = self.n * self.d > 4 * BLOCK
        return large and any(
            X.dtype == np.float16 or is_unread(X) or _is_mapped(X) for X, _ in self._parts
        )

    def _sampled_spectrum(self) -> Spectrum:
        import torch

        every = max(1, self.n // max(ROWS_PER_FEATURE * self.d, 1))
        if self.n * self.d <= SMALL:
            every = 1  # the order of few rows shouldn't matter
        gram = torch.zeros(self.d, self.d, dtype=self.dtype, device=self.device)
        count = 0
        for _, block in self.blocks(self.dtype):
            sample = block[::every]
            gram.addmm_(sample.T, sample)
            count += len(sample)
        if not torch.isfinite(gram).all():
            raise ValueError(
                "the squares of the features leave the range of float32; give standardize=True, "
                "or divide them by their size first"
            )
        values, vectors = torch.linalg.eigh(gram / max(count, 1))
        return Spectrum(values.clamp_(min=0), vectors)


def select_rows(parts: Sequence[Part], wanted: Array) -> list[Part]:
    """View of the parts of some rows, given by a mask of shape (n_samples,). Nothing is copied.

    Parameters
    ----------
    parts : sequence of (ndarray, ndarray or None)
        As in `StandardizedRows`.
    wanted : ndarray of bool of shape (n_samples,)
        The rows that are wanted.

    Examples
    --------
    >>> X = np.eye(3)
    >>> [(_, rows)] = select_rows([(X, None)], np.array([True, False, True]))
    >>> rows.tolist()
    [0, 2]
    """
    chosen: list[Part] = []
    done = 0
    for X, rows in parts:
        count = len(X if rows is None else rows)
        index = np.flatnonzero(wanted[done : done + count])
        if len(index):
            chosen.append((X, index if rows is None else rows[index]))
        done += count
    return chosen


def _is_mapped(X: Any) -> bool:
    """Whether an array is a memory-mapped file, or a view of one."""
    while X is not None:
        if isinstance(X, np.memmap):
            return True
        X = getattr(X, "base", None)
    return False
