"""The stages of one event: enrich it, mask its address, have it handled, store it.

`pipeline` runs them, after it dropped the fields that a client sent under the name of an enricher.
"""
