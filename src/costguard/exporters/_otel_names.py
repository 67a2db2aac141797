"""The names that the OpenTelemetry exporter uses: the GenAI conventions as of 2026-11, and those that tell cost.

They are written out here because the conventions are still in development and move between packages: an imported
constant would vanish with the next release of somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SCOPE: Final = "costguard"

# -- GenAI conventions: spans of kind CLIENT, named "{operation} {model}"
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_CHOICES: Final = "gen_ai.request.choice.count"
RESPONSE_MODEL: Final = "gen_ai.response.model"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
SERVER_ADDRESS: Final = "server.address"
ERROR_TYPE: Final = "error.type"

INFERENCE: Final = frozenset({"chat", "generate_content", "text_completion", "embeddings"})
"""Operations that are one call of a model; others (``invoke_agent``, ``execute_tool``...) are around several."""

OPERATIONS: Final[Mapping[str, str]] = {"responses": "chat"}
"""The conventions' names of operations, where we tell apart what they do not."""

OTHER_MODEL_NAMES: Final = (
    "gen_ai.request.model",
    "llm.model_name",
    "llm.request.model",
    "langfuse.observation.model.name",
    "gen_ai.response.model",
)
"""Where other instrumentations say which model a span is about."""

LLM_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "openinference.span.kind": frozenset({"LLM", "EMBEDDING"}),
    "llm.request.type": frozenset({"chat", "completion", "embedding", "rerank"}),
    "langfuse.observation.type": frozenset({"generation", "embedding"}),
}
"""Attributes by which instrumentations that do not follow the conventions mark the span of one call."""

PROVIDERS: Final[Mapping[str, str]] = {
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "moonshotai": "moonshot_ai",
    "x-ai": "x_ai",
}
"""The catalog's names of providers, where the conventions have another."""

# -- cost: no attribute is standard; these are the ones that backends read, as doubles in US dollars
COST_ATTRIBUTES: Final = ("gen_ai.usage.cost", "llm.cost.total", "operation.cost")
"""Read by Langfuse, Grafana, OpenLIT and Opik; by Arize; by Logfire."""

COST: Final = "costguard.cost.usd"
COST_SOURCE: Final = "costguard.cost.source"
PRICE: Final = "costguard.price"
UNPRICED: Final = "costguard.unpriced"
SAVED: Final = "costguard.saved.usd"
DECISION: Final = "costguard.decision"
ASKED_MODEL: Final = "costguard.asked_model"
OUTCOME: Final = "costguard.outcome"
CALL: Final = "costguard.call.id"
RUN: Final = "costguard.run"
BUDGETS: Final = "costguard.budgets"
TAG: Final = "costguard."

# -- metrics
METRIC_COST: Final = "costguard.cost"
METRIC_SAVED: Final = "costguard.saved"
METRIC_CALLS: Final = "costguard.calls"
METRIC_LIMIT: Final = "costguard.budget.limit"
METRIC_SPENT: Final = "costguard.budget.spent"
METRIC_UTILIZATION: Final = "costguard.budget.utilization"
BUDGET: Final = "costguard.budget.name"
SAVED_BY: Final = "costguard.saved.by"
