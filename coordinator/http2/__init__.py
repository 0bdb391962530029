"""HTTP/2 as both ends have it: frames, header blocks, what may be sent. Imports nothing of ours."""
