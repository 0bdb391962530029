"""Saga, msg, TCC, XA, workflow: stored rows and results → the next decision. Pure. Imports model alone."""
