"""From a sweep file to messages on the queue: search, plan, enqueue, audit, hold."""
