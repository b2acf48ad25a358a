"""What must Envoy be told so that it does what the epoch says? Pure.

`view` says what of the policy a gateway's Envoy needs, `translation` renders the files and orders
their changes, `linting` proves the invariants on what was rendered.
"""
