"""What a server of the reference answered to 104 calls (http.json), and the comparison with ours."""
