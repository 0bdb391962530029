"""The protocols in front: decode, ask the service, encode. No rules here."""
