"""Who may do what: permissions, roles, tokens, people, the record of it. Imports store, config and below."""
