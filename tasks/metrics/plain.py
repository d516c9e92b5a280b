"""The plain metrics under the import path of earlier releases, which user code and scripts still import.

They are defined in `tasks.evaluation.metrics.plain`.
"""

from tasks.evaluation.metrics.plain import faithfulness, is_abstention, sentence_faithfulness, sentences_faithfulness

__all__ = ["faithfulness", "is_abstention", "sentence_faithfulness", "sentences_faithfulness"]
