"""The tables of journals, the same in SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Final

MIGRATIONS_TABLE: Final = "CREATE TABLE IF NOT EXISTS {s}journal_migrations (number INTEGER PRIMARY KEY)"

MIGRATIONS: Final = (
    (
        """CREATE TABLE {s}calls (
            seq {serial},
            id {text} NOT NULL, at {whole} NOT NULL,
            provider {text} NOT NULL, model {text} NOT NULL, sent {text} NOT NULL, asked {text} NOT NULL,
            operation {text} NOT NULL, tier {text} NOT NULL, host {text} NOT NULL, stream {whole} NOT NULL,
            feature {text} NOT NULL, team {text} NOT NULL, environment {text} NOT NULL, "user" {text} NOT NULL,
            tags {text} NOT NULL, run {text} NOT NULL,
            outcome {text} NOT NULL, error {text} NOT NULL, decision {text} NOT NULL,
            nano {whole} NOT NULL, saved {whole} NOT NULL, held {whole} NOT NULL, entry {text} NOT NULL,
            estimated {whole} NOT NULL, unpriced {text} NOT NULL,
            input {whole} NOT NULL, output {whole} NOT NULL,
            cache_read {whole} NOT NULL, cache_write {whole} NOT NULL, reasoning {whole} NOT NULL,
            micros {whole} NOT NULL,
            usages {text} NOT NULL, budgets {text} NOT NULL, would_block {text} NOT NULL, fingerprint {text} NOT NULL
        )""",
        "CREATE UNIQUE INDEX calls_id ON {s}calls (id)",
        "CREATE INDEX calls_at ON {s}calls (at, seq)",
        "CREATE INDEX calls_run ON {s}calls (run)",
        """CREATE TABLE {s}quarters (
            slot {whole} NOT NULL, provider {text} NOT NULL, model {text} NOT NULL, asked {text} NOT NULL,
            operation {text} NOT NULL, tier {text} NOT NULL,
            feature {text} NOT NULL, team {text} NOT NULL, environment {text} NOT NULL,
            outcome {text} NOT NULL, decision {text} NOT NULL, entry {text} NOT NULL,
            calls {whole} NOT NULL, nano {whole} NOT NULL, saved {whole} NOT NULL,
            input {whole} NOT NULL, output {whole} NOT NULL,
            cache_read {whole} NOT NULL, cache_write {whole} NOT NULL, reasoning {whole} NOT NULL,
            estimated {whole} NOT NULL, estimated_nano {whole} NOT NULL, unpriced {whole} NOT NULL,
            would_block {whole} NOT NULL, micros {whole} NOT NULL,
            PRIMARY KEY (slot, provider, model, asked, operation, tier, feature, team, environment, outcome, decision,
                         entry)
        )""",
        """CREATE TABLE {s}results (
            seq {serial},
            id {text} NOT NULL, at {whole} NOT NULL, name {text} NOT NULL, value {whole} NOT NULL,
            feature {text} NOT NULL, team {text} NOT NULL, environment {text} NOT NULL, "user" {text} NOT NULL,
            tags {text} NOT NULL, run {text} NOT NULL
        )""",
        "CREATE UNIQUE INDEX results_id ON {s}results (id)",
        "CREATE INDEX results_at ON {s}results (at, seq)",
    ),
    (
        """CREATE TABLE {s}corrections (
            seq {serial},
            id {text} NOT NULL, "call" {text} NOT NULL, at {whole} NOT NULL,
            before {text} NOT NULL, after {text} NOT NULL, why {text} NOT NULL
        )""",
        "CREATE UNIQUE INDEX corrections_id ON {s}corrections (id)",
        "CREATE INDEX corrections_at ON {s}corrections (at, seq)",
    ),
)
"""Each is applied once, in order; the table ``journal_migrations`` tells which were. Never edit one: add another."""
