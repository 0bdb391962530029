"""Who drives what, and when: drives, recovery, alerts. Knows rules, calls and store; no protocol in front."""
