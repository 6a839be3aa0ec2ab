"""Observe, decide, act: the reconcile loop, the crash policy, probation after a deploy, alerts."""
