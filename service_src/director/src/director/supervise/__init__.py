"""Observe, decide, act: the reconcile loop, the crash policy, probation after a deploy, alerts.

`reconcile` alone decides, by the rules in `policy`; `supervisor` acts. `probation` only asks new releases for their
status.
"""
