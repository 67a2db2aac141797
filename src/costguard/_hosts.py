"""Which provider bills for a host, and under which names a provider is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

PROVIDERS: Final[Mapping[str, str]] = {
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "aws.bedrock": "aws",
    "aws_bedrock": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "fireworks_ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gemini": "google",
    "google-gla": "google",
    "google_genai": "google",
    "gcp.vertex_ai": "google-vertex",
    "vertex": "google-vertex",
    "vertex_ai": "google-vertex",
    "vertexai": "google-vertex",
    "grok": "x-ai",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "meta-llama": "meta",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
    "vercel_ai_gateway": "vercel",
    "voyage": "voyageai",
    "z-ai": "zai",
}
"""Other people's names of a provider (OpenTelemetry's, LiteLLM's, gateways' vendor prefixes), by the catalog's own."""

_HOSTS: Final[Mapping[str, str]] = {
    "api.openai.com": "openai",
    "us.api.openai.com": "openai",
    "eu.api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "aiplatform.googleapis.com": "google-vertex",
    "openrouter.ai": "openrouter",
    "api.openrouter.ai": "openrouter",
    "api.groq.com": "groq",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x-ai",
    "api.mistral.ai": "mistral",
    "codestral.mistral.ai": "mistral",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.perplexity.ai": "perplexity",
    "api.fireworks.ai": "fireworks",
    "api.cerebras.ai": "cerebras",
    "api.arcee.ai": "arcee",
    "api.avian.io": "avian",
    "inference.baseten.co": "baseten",
    "api.cloudflare.com": "cloudflare",
    "api.cursor.com": "cursor",
    "api.doubleword.ai": "doubleword",
    "api.elevenlabs.io": "elevenlabs",
    "api.githubcopilot.com": "github-copilot",
    "api.meta.ai": "meta",
    "api.novita.ai": "novita",
    "oai.endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
    "api.quicksilverpro.io": "quicksilverpro",
    "api.typesafe.ai": "typesafe",
    "ai-gateway.vercel.sh": "vercel",
    "router.huggingface.co": "huggingface",
    "api.voyageai.com": "voyageai",
    "api.z.ai": "zai",
    "open.bigmodel.cn": "zhipuai",
}

_PATTERNS: Final = tuple(
    (re.compile(pattern), provider)
    for pattern, provider in (
        (r"[a-z0-9-]+-aiplatform\.googleapis\.com", "google-vertex"),
        (r"aiplatform\.[a-z]+\.rep\.googleapis\.com", "google-vertex"),
        (r"bedrock-(?:runtime|mantle)(?:-fips)?\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|api\.aws)", "aws"),
        (r".+\.(?:openai|cognitiveservices|services\.ai|inference\.ai)\.azure\.(?:com|us)", "azure"),
        (r".+\.azure-api\.net", "azure"),
        (r".+\.(?:cloud\.databricks\.com|azuredatabricks\.net|gcp\.databricks\.com)", "databricks"),
        (r"api\.(?:us|(?:eu|in|sg)\.residency)\.elevenlabs\.io", "elevenlabs"),
        (r"api\.minimaxi?\.(?:com|io|chat)", "minimax"),
        (r".+\.modal\.(?:run|direct)", "modal"),
        (r"api\.moonshot\.(?:ai|cn)", "moonshotai"),
        (r"(?:us-east-1|eu-west-1)\.api\.x\.ai", "x-ai"),
    )
)

_PINNED: Final = re.compile(
    r"([a-z0-9-]+)-aiplatform\.googleapis\.com|bedrock-(?:runtime|mantle)(?:-fips)?\.([a-z0-9-]+)\..+"
)

ROUTER: Final = "huggingface"
"""Hugging Face's router: many providers behind one host, each with prices of its own under ``huggingface_NAME``."""
ROUTED: Final = tuple(
    f"{ROUTER}_{name}"
    for name in (
        "cerebras",
        "fireworks-ai",
        "groq",
        "hyperbolic",
        "nebius",
        "novita",
        "nscale",
        "ovhcloud",
        "publicai",
        "sambanova",
        "together",
    )
)
"""Those of them that have a price file."""
_ROUTER_HOST: Final = "router.huggingface.co"
_VERSION: Final = re.compile(r"v\d+")


def place(host: str, path: str) -> str:
    """What tells who bills for a request: the host, with the provider that the router's paths begin with."""
    if host != _ROUTER_HOST:
        return host
    first = path.lstrip("/").partition("/")[0].lower()
    return f"{host}/{first}" if first and not _VERSION.fullmatch(first) else host


def routed(provider: str, model: str) -> tuple[str, str, str]:
    """For a model at the router: which provider it is asked of, the model without what says so, and what that was.

    ``org/model:together`` names one; ``:fastest`` and other policies, or nothing, leave the choice to the router.
    """
    if not provider.startswith(ROUTER):
        return provider, model, ""
    bare, _, wish = model.partition(":")
    if provider == ROUTER and f"{ROUTER}_{wish}" in ROUTED:
        return f"{ROUTER}_{wish}", bare, wish
    return provider, bare, wish


def provider_name(name: str) -> str:
    """The catalog's name of a provider, out of any of its names."""
    return PROVIDERS.get(name, name)


def host_provider(host: str) -> str | None:
    """Who bills for requests to `host` (a name, with or without a port), None when it is no known provider's."""
    name, _, path = host.strip().lower().partition("/")
    name = name.partition(":")[0].rstrip(".")
    known = _HOSTS.get(name)
    if known == ROUTER and f"{ROUTER}_{path}" in ROUTED:
        return f"{ROUTER}_{path}"
    if known is not None:
        return known
    return next((provider for pattern, provider in _PATTERNS if pattern.fullmatch(name)), None)


@lru_cache(maxsize=1024)
def host_region(host: str) -> str | None:
    """The region that a host pins its answers to: a name, ``""`` where it pins none, None when it does not tell."""
    name = host.strip().lower().partition(":")[0]
    if name in ("us.api.openai.com", "eu.api.openai.com"):
        return name[:2]
    if name == "api.openai.com":
        return ""
    if name == "aiplatform.googleapis.com":
        return "global"
    pinned = _PINNED.fullmatch(name)
    return None if pinned is None else pinned[1] or pinned[2]
