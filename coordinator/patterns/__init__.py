"""Rules of saga, msg, TCC, XA, workflow: a request's rows, what next. Pure. Imports model, light, results."""
