"""Where are records and usage kept? The only package that stores them.

`records` is the append-only log of decisions, `usage` the books of tokens and cost.
"""
