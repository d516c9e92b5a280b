"""Prompts: one template file per model family, and one way to render and tokenise it, from training to serving."""

from tasks.prompts.pieces import Tokens
from tasks.prompts.prompt import Asked, Prompt, Vocabulary

__all__ = ["Asked", "Prompt", "Tokens", "Vocabulary"]
