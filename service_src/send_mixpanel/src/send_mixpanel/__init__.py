"""Listener that delivers every event of the durable stream to Mixpanel, where each is counted once.

`delivery` splits a batch of the stream by project, `project_sender` uploads it and tries again, `verdict` says what a
response of Mixpanel means.
"""
