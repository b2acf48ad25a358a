"""What is written about a decision, and how is it checked afterwards? Pure.

`record` is the schema and its bytes, `segments` how the bytes lie in a file, `chain` how each
record holds the one before it, `verification` what an auditor finds.
"""
