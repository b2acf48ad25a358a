"""What is remembered of a decision, and how is it proved later? Pure."""
