"""Rules of saga, msg, TCC, XA, workflow: a request's rows, then what is next. Pure. Imports model alone."""
