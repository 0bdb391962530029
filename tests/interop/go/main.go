// Program interop uses the protocol's Go clients, unchanged, against a coordinator, and says what came of it.
//
//	interop run http|grpc     every case of that protocol: one line each, "passed|failed|not run", tab-separated
//	interop worker http|grpc  a workflow client of its own, which may die in the middle
//	interop bank-rpc FILE     a go-zero service that registers in etcd
//	interop register-api FILE a go-zero api whose saga calls user.rpc and score.rpc
//
// Where things are is read from the environment: see environment.go.
package main

import (
	"fmt"
	"os"

	"github.com/dtm-labs/logger"
)

func main() {
	logger.InitLog("fatal")
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: interop run|worker|bank-rpc|register-api http|grpc|FILE")
		os.Exit(2)
	}
	switch command, argument := os.Args[1], os.Args[2]; command {
	case "run":
		runCases(argument)
	case "worker":
		runWorker(argument)
	case "bank-rpc":
		serveBankRPC(argument)
	case "register-api":
		serveRegisterAPI(argument)
	default:
		fmt.Fprintln(os.Stderr, "no such command:", command)
		os.Exit(2)
	}
}
