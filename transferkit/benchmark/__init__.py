"""Backbones compared under named protocols: tidy rows that resume, with honest statistics."""

from transferkit.benchmark.data import BenchmarkDataset, load_dataset
from transferkit.benchmark.grid import Cell, Want, named_backbones
from transferkit.benchmark.leaderboard import Board, Place, leaderboards
from transferkit.benchmark.loop import Finished, benchmark, plan_benchmark
from transferkit.benchmark.results import Results
from transferkit.benchmark.transferability import TransferabilityScores, agreement, screen

Hint = TransferabilityScores
"""Another name of `TransferabilityScores`."""

__all__ = [
    "BenchmarkDataset",
    "Board",
    "Cell",
    "Dataset",
    "Finished",
    "Hint",
    "Place",
    "Results",
    "TransferabilityScores",
    "Want",
    "agreement",
    "benchmark",
    "leaderboards",
    "load_dataset",
    "named_backbones",
    "plan_benchmark",
    "screen",
]

Dataset = BenchmarkDataset
