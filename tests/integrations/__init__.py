"""Attribution in web frameworks and task queues, with the real ones."""
