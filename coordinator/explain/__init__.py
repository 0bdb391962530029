"""Why it waits, and what comes. Imports patterns, backoff, attempt, hold, owner, results, the nouns."""
