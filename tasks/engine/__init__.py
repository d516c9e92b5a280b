"""Versioned steps: what an artifact is made from, where it is kept, and whether it must be made again."""

from tasks.engine.step import NOT_A_PATH, RUNTIME, Config, PathSetting, Step, Text, step

__all__ = ["NOT_A_PATH", "RUNTIME", "Config", "PathSetting", "Step", "Text", "step"]
