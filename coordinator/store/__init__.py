"""Where transactions live: the protocol every store keeps, and the SQL store."""
