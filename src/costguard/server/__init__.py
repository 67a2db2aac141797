"""``costguard serve``: one ledger for every language, over HTTP; see `costguard.server.app.create_app`.

It needs the extra ``server`` (FastAPI and uvicorn). What it counts on and keeps is what a program would: the guard
that `costguard.configure` makes, over its ledger, its journal and its budgets.
"""
