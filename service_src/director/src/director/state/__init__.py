"""What is remembered in Redis: desired state, config, releases, crash log, event stream.

`desired` also refuses what no service may ask for, such as a port below 1024 or a volume at a system's folder.
"""
