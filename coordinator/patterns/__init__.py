"""Rules of saga, msg, TCC, XA, workflow: a request's rows, what is next. Pure. Imports model, results."""
