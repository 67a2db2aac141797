"""A local server that stands in for OpenAI, Anthropic and Google, and keeps its own count of what it billed.

It imports nothing of costguard, because it stands outside what it tests: its `billed` is the truth that costguard's
books are compared with.
"""

from .reply import Billed, Garbage, Received, Reply, Tokens, ToolCall
from .server import LoopbackProvider

__all__ = ["Billed", "Garbage", "LoopbackProvider", "Received", "Reply", "Tokens", "ToolCall"]
