"""Prompts: rows as the turns of a chat, and one way to render and tokenise them, from training to serving."""

from tasks.prompts.config import Asked, PromptConfig
from tasks.prompts.pieces import Tokens
from tasks.prompts.prompt import Prompt
from tasks.prompts.vocabulary import Vocabulary

__all__ = ["Asked", "Prompt", "PromptConfig", "Tokens", "Vocabulary"]
