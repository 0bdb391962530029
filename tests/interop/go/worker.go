package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"

	"encoding/json"

	"github.com/dtm-labs/client/workflow"
)

func init() {
	add("workflow: client dies, another one goes on", workflowResumed)
	add("workflow: client dies, another one rolls back", workflowResumedAndRolledBack)
}

const diedOnPurpose = 9

// mayDie ends the process on the spot, when it is a worker that has been told to.
func (p plan) mayDie() {
	if p.Die && os.Getenv("INTEROP_WORKER_DIES") != "" {
		os.Exit(diedOnPurpose)
	}
}

// runWorker is a workflow client of its own: it executes a workflow if it is given one, and answers the
// coordinator's calls until its input ends.
func runWorker(protocol string) {
	b := newBank(readEnvironment(), protocol)
	listener := b.listen(os.Getenv("INTEROP_WORKER_LISTEN"))
	startWorkflows(b)
	go b.serve(listener)
	if gid := os.Getenv("INTEROP_WORKER_GID"); gid != "" {
		err := workflow.Execute("mixed", gid, []byte(os.Getenv("INTEROP_WORKER_PLAN")))
		fmt.Println("executed:", err)
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// worker describes the process; address is where it is called back.
func (r *testRun) worker(address string, more ...string) *exec.Cmd {
	command := exec.Command(os.Args[0], "worker", r.bank.protocol)
	command.Env = append(os.Environ(), append(more, "INTEROP_WORKER_LISTEN="+address)...)
	command.Stderr = os.Stderr
	return command
}

// dieInTheMiddle runs a workflow of three steps in a process that ends after the second.
func (r *testRun) dieInTheMiddle() (p plan, address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	address = listener.Addr().String()
	must(listener.Close())
	p = r.plan()
	p.Middle, p.Die = r.open("mysql", "middle"), true
	data, err := json.Marshal(p)
	must(err)
	first := r.worker(address, "INTEROP_WORKER_DIES=1", "INTEROP_WORKER_GID="+r.gid, "INTEROP_WORKER_PLAN="+string(data))
	output, _ := first.Output()
	check(first.ProcessState.ExitCode() == diedOnPurpose, "the worker should have died: %v %s", first.ProcessState, output)
	equal("status", r.query().status(), "prepared")
	equal("rows", r.query().rows(), "01 action succeed, 02 business succeed, 02 action succeed")
	return p, address
}

// revive starts another process at the same address, which only waits for the coordinator; end stops it.
func (r *testRun) revive(address string) (end func()) {
	second := r.worker(address)
	input, err := second.StdinPipe()
	must(err)
	must(second.Start())
	return func() {
		_ = input.Close()
		_ = second.Wait()
	}
}

func workflowResumed(r *testRun) {
	p, address := r.dieInTheMiddle()
	defer r.revive(address)()
	r.endsNudged("succeed", "01 action succeed, 02 business succeed, 02 action succeed, 03 action succeed,"+
		" 03 commit succeed, 02 commit succeed")
	r.wasCalled("01 action, 03 action, 03 commit")
	r.transferred(p.From, p.To)
	r.has("mysql", p.Middle, 95)
	r.nothingPrepared("mysql")
}

func workflowResumedAndRolledBack(r *testRun) {
	r.script("03 action", refuse)
	p, address := r.dieInTheMiddle()
	defer r.revive(address)()
	r.endsNudged("failed", "01 action succeed, 02 business succeed, 02 action succeed, 03 action failed,"+
		" 02 rollback succeed, 01 rollback succeed")
	r.wasCalled("01 action, 03 action, 01 rollback")
	r.untouched(p.From, p.To)
	r.has("mysql", p.Middle, 100)
	r.nothingPrepared("mysql")
}
