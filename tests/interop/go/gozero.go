package main

func serveBankRPC(string)     {}
func serveRegisterAPI(string) {}
