"""Text to token ids and back, and a conversation to a prompt. Knows no model weights and no HTTP."""

from service.tokenizer.chat_template import ChatTemplate, load_chat_template
from service.tokenizer.detokenizer import Detokenizer
from service.tokenizer.tokenizer import Tokenizer, load_tokenizer

__all__ = ["ChatTemplate", "Detokenizer", "Tokenizer", "load_chat_template", "load_tokenizer"]
