"""Projects: who may send events, from where and how many; kept by the director in Redis, looked up without network."""
