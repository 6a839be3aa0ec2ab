"""HTTP in and out: reads parameters, checks who may call, writes responses. It decides nothing about services."""
