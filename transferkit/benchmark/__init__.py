"""Compare backbones under published protocols, with resumable results and intervals."""

from transferkit.benchmark.data import (
    BenchmarkDataset,
    ObjectDataset,
    SegmentationDataset,
    load_dataset,
)
from transferkit.benchmark.grid import (
    Cell,
    Want,
    check_protocols,
    default_heads,
    default_protocols,
    named_backbones,
)
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
    "ObjectDataset",
    "Place",
    "Results",
    "SegmentationDataset",
    "TransferabilityScores",
    "Want",
    "agreement",
    "benchmark",
    "check_protocols",
    "default_heads",
    "default_protocols",
    "leaderboards",
    "load_dataset",
    "named_backbones",
    "plan_benchmark",
    "screen",
]

Dataset = BenchmarkDataset
