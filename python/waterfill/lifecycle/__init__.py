"""Operate an index in production: retrain its codec, compare, gate and swap indexes."""

from waterfill.lifecycle.comparison import Comparison, compare
from waterfill.lifecycle.gate import Gate
from waterfill.lifecycle.generation import Generation
from waterfill.lifecycle.swap import GateError, SwapReport

__all__ = ["Comparison", "Gate", "GateError", "Generation", "SwapReport", "compare"]
