"""What programs run in: preloading, forking and greenlet servers, task queues and spawned workers, each for real."""
