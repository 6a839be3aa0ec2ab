"""What an operator can ask for, and how a container is replaced without a gap.

`operations` are the verbs, `docker_rolling` is the replacement from top to bottom, `containers` has its single steps
and the pool of host ports, `rollback` goes back to an earlier release.
"""
