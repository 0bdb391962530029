"""The barrier in a business database: a call works once; query-prepared. Imports frameworks and below."""
