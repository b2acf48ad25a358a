"""How is each process put together? One builder per process; the only place that knows adapters."""
