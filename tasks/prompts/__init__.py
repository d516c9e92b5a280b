"""Prompts: one template file per model family, and one way to render and tokenise it, from training to serving."""

from tasks.prompts.prompt import REFUSAL, Prompt, Vocabulary
from tasks.prompts.tokens import Tokens

__all__ = ["REFUSAL", "Prompt", "Tokens", "Vocabulary"]
