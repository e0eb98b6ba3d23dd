"""Multinomial logistic regression, fitted until it has converged.

With x_i a row of features and a 1, W the weights (shape: [features + 1, classes], the last row
being the intercepts) and p_i = softmax(W^T x_i), it minimises the sum over rows

    f(W) = sum_i -log p_i[y_i] + 1 / (2 C) |W without intercepts|^2

by Newton's method: a step D solves H D = -G, G and H being the gradient and the Hessian of f. The
Newton decrement sqrt(-G . D) measures how far W is from the minimum: a row that lies between two
classes has its logits moved by at most twice as much. A fit has converged where it is below a
tolerance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-6
"""The Newton decrement that ends a fit: small enough for a last bit of x to change no result."""

COARSE = 1e-2
"""The same for fits that are only compared, to choose C."""

_MOST_STEPS = 100
_MOST_PRODUCTS = 500
# After a step of more products a new preconditioner saves more than it takes.
_MANY_PRODUCTS = 12
_PIECE = 2048
# What the preconditioner is built of: more rows or features take long, and save few products.
_SAMPLED_ROWS = 1000
_MOST_FEATURES = 2048

Weights = NDArray[np.float64]


class Fit(NamedTuple):
    """The weights, and whether they have converged."""

    weights: Weights
    converged: bool


def fit(
    x: NDArray[np.float32],
    y: NDArray[np.intp],
    classes: int,
    *,
    inverse_penalty: float,
    start: Weights | None = None,
    tolerance: float = TOLERANCE,
) -> Fit:
    """Fit features ([rows, features]) of the classes `y` in 0, ..., `classes` - 1, all of them.

    C is `inverse_penalty`. `start` are weights of another C or tolerance; None starts from zeros.
    """
    problem = _Problem(x, y, classes, inverse_penalty)
    weights = np.zeros((x.shape[1] + 1, classes)) if start is None else start
    value, gradient, share = problem.evaluate(weights)
    products, preconditioner = 0, problem.preconditioner(share)
    for _ in range(_MOST_STEPS):
        if products > _MANY_PRODUCTS:
            preconditioner = problem.preconditioner(share)
        step, products = _newton_step(gradient, problem.curvature(share), preconditioner, tolerance)
        slope = float((gradient * step).sum())
        if slope >= -(tolerance**2):
            return Fit(weights + step, converged=True)
        length = 1.0
        while True:
            moved = weights + length * step
            found, gradient, share = problem.evaluate(moved)
            # Beside the sum f a smaller change is rounding.
            if found <= value + 1e-4 * length * slope + 1e-12 * abs(value):
                break
            length /= 2
        weights, value = moved, found
    return Fit(weights, converged=False)


def logits(x: NDArray[np.float32], weights: Weights) -> NDArray[np.float64]:
    """W^T x of each row (shape: [rows, classes])."""
    pieces = [x[i : i + _PIECE].astype(np.float64) @ weights[:-1] for i in range(0, len(x), _PIECE)]
    scores: NDArray[np.float64] = np.concatenate(pieces) + weights[-1]
    return scores


def log_loss(scores: NDArray[np.float64], y: NDArray[np.intp]) -> float:
    """Mean over rows of -log softmax(scores)[y]."""
    shifted = scores - scores.max(1, keepdims=True)
    chosen = shifted[np.arange(len(y)), y]
    return float((np.log(np.exp(shifted).sum(1)) - chosen).mean())


@dataclass(frozen=True)
class _Problem:
    """f, its gradient and its Hessian."""

    x: NDArray[np.float32]
    y: NDArray[np.intp]
    classes: int
    inverse_penalty: float

    def evaluate(self, weights: Weights) -> tuple[float, Weights, NDArray[np.float32]]:
        """f, G, and p of each row."""
        gradient = np.zeros_like(weights)
        gradient[:-1] = weights[:-1] / self.inverse_penalty
        value = float(np.square(weights[:-1]).sum()) / (2 * self.inverse_penalty)
        share = np.empty((len(self.x), self.classes), np.float32)
        for start in range(0, len(self.x), _PIECE):
            piece = slice(start, start + _PIECE)
            x, y = self.x[piece].astype(np.float64), self.y[piece]
            p = x @ weights[:-1] + weights[-1]
            p -= p.max(1, keepdims=True)
            rows = np.arange(len(y))
            value -= float(p[rows, y].sum())
            np.exp(p, out=p)
            total = p.sum(1, keepdims=True)
            value += float(np.log(total).sum())
            p /= total
            share[piece] = p
            p[rows, y] -= 1
            gradient[:-1] += x.T @ p
            gradient[-1] += p.sum(0)
        return value, gradient, share

    def curvature(self, share: NDArray[np.float32]) -> Callable[[Weights], Weights]:
        """V -> H V. In float32: a step that is a little off costs a part of another step."""

        def product(direction: Weights) -> Weights:
            v = direction.astype(np.float32)
            result = np.zeros_like(direction)
            for start in range(0, len(self.x), _PIECE):
                piece = slice(start, start + _PIECE)
                x, p = self.x[piece], share[piece]
                u = x @ v[:-1] + v[-1]
                u -= np.einsum("ij,ij->i", u, p)[:, None]
                u *= p
                result[:-1] += x.T @ u
                result[-1] += u.sum(0)
            result[:-1] += direction[:-1] / self.inverse_penalty
            return result

        return product

    def preconditioner(self, share: NDArray[np.float32]) -> Callable[[Weights], Weights]:
        """R -> an approximation of H^-1 R: of each class's own block of H.

        The columns of a gradient add up to zero, and those of all steps have to.
        """
        solvers = [self._solver(share[:, c]) for c in range(self.classes)]

        def product(residual: Weights) -> Weights:
            found: Weights = np.stack(
                [solve(residual[:, c]) for c, solve in enumerate(solvers)], axis=1
            )
            found -= found.mean(1, keepdims=True)
            return found

        return product

    def _solver(self, p: NDArray[np.float32]) -> Callable[[Weights], Weights]:
        """R -> B^-1 r, B being the block of a class whose share of each row is `p`."""
        from scipy.linalg.lapack import dpotrf, dpotrs

        features = self.x.shape[1]
        curvature = p * (1 - p)
        # The rows that the class is least sure of make up nearly all of its block.
        rows = np.argsort(-curvature, kind="stable")[:_SAMPLED_ROWS]
        weight = curvature[rows]
        ridge = 1 / self.inverse_penalty
        intercept = max(float(weight.sum(dtype=np.float64)), 1e-12) * (1 + 1e-6)
        if features > _MOST_FEATURES:
            diagonal = np.square(self.x[rows]).T @ weight + ridge
            scale = np.append(diagonal.astype(np.float64), intercept)
            return lambda residual: residual / scale
        scaled = self.x[rows] * np.sqrt(weight)[:, None]
        block = np.empty((features + 1, features + 1), order="F")
        block[:-1, :-1] = scaled.T @ scaled
        block[np.arange(features), np.arange(features)] += ridge
        block[-1, :-1] = block[:-1, -1] = scaled.T @ np.sqrt(weight)
        block[-1, -1] = intercept
        # Not cho_factor and cho_solve: checking each argument takes longer than a small block does.
        factor, fault = dpotrf(block, lower=True, overwrite_a=True)
        if fault:
            raise np.linalg.LinAlgError("the Hessian is not positive definite")

        def solve(residual: Weights) -> Weights:
            solution: Weights = dpotrs(factor, residual, lower=True)[0]
            return solution

        return solve


def _newton_step(
    gradient: Weights,
    curvature: Callable[[Weights], Weights],
    preconditioner: Callable[[Weights], Weights],
    tolerance: float,
) -> tuple[Weights, int]:
    """D of H D = -G by conjugate gradients, the more exact the nearer the minimum is.

    Also returns the number of products H V: none where the preconditioner alone finds a decrement
    far below `tolerance`.
    """
    step, residual = np.zeros_like(gradient), -gradient
    direction = preconditioned = preconditioner(residual)
    size = first = float((residual * preconditioned).sum())
    if first <= (tolerance / 10) ** 2:
        return preconditioned, 0
    # Far from the minimum a coarse solution does; float32 products allow no finer one.
    relative = np.clip(np.sqrt(first), 1e-3, 0.1)
    products = 0
    while products < _MOST_PRODUCTS:
        products += 1
        product = curvature(direction)
        length = size / float((direction * product).sum())
        step = step + length * direction
        residual = residual - length * product
        preconditioned = preconditioner(residual)
        last, size = size, float((residual * preconditioned).sum())
        if size <= relative**2 * first:
            break
        direction = preconditioned + (size / last) * direction
    return step, products
