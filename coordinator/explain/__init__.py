"""Why it waits, what comes, what may be done. Imports patterns, backoff, attempt, hold, owner, the nouns."""
