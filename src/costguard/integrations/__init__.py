"""Attribution in programs that serve requests and work off queues: one module for each kind, imported when used."""
