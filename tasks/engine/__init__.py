"""Versioned steps: what an artifact is made from, where it is kept, and whether it must be made again."""

from tasks.engine.step import RUNTIME, Config, Step, step

__all__ = ["RUNTIME", "Config", "Step", "step"]
