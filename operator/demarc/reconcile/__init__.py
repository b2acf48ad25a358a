"""What happens when a resource changes? Observe, validate, plan, apply, prune, report."""
