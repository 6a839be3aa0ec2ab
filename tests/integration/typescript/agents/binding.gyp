{"targets": [{"target_name": "agents", "sources": ["agents.c"]}]}
