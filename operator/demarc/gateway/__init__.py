"""What does the process beside Envoy do? It decides, and keeps Envoy doing what was decided.

`agent` puts it together. `inner`, `egress` and `edge` answer Envoy's questions, each with the steps
of one tier; `wire` speaks HTTP on the socket. `keeping` holds the policy in force, `dataplane`
Envoy's files and the addresses in them, `availability` what `choose` may take. `recording` makes
decisions durable, `tailing` and `booking` read Envoy's log into the ledger.
"""
