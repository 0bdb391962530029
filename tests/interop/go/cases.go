package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmgrpc"
)

const (
	caseSeconds = 40
	caseBudget  = 12 // cases that run at the same time
)

// testCase is one pattern; it runs once for each of its protocols.
type testCase struct {
	pattern   string
	protocols string   // of "http grpc json-rpc"
	stores    []string // what it cannot do without
	run       func(*testRun)
}

var cases []testCase

// add registers a case for HTTP and gRPC; every file adds its own.
func add(pattern string, run func(*testRun), stores ...string) {
	cases = append(cases, testCase{pattern, "http grpc", append(stores, "mysql"), run})
}

// addFor registers a case for the protocols named.
func addFor(protocols, pattern string, run func(*testRun)) {
	cases = append(cases, testCase{pattern, protocols, []string{"mysql"}, run})
}

// unmet is what a check throws; the case has failed.
type unmet string

// runCases runs what belongs to the protocol, json-rpc with http, and prints one line for each.
func runCases(protocol string) {
	e := readEnvironment()
	b := newBank(e, protocol)
	listener := b.listen("127.0.0.1:0")
	startWorkflows(b)
	go b.serve(listener)
	output := bufio.NewWriter(os.Stdout)
	var printing sync.Mutex
	places := make(chan struct{}, caseBudget)
	var all sync.WaitGroup
	sort.SliceStable(cases, func(i, j int) bool { return cases[i].pattern < cases[j].pattern })
	for _, it := range cases {
		for _, spoken := range strings.Fields(it.protocols) {
			if (spoken == "grpc") != (protocol == "grpc") {
				continue
			}
			all.Add(1)
			places <- struct{}{}
			go func() {
				defer func() { <-places; all.Done() }()
				began := time.Now()
				result, why := it.outcome(b, spoken)
				printing.Lock()
				defer printing.Unlock()
				why = strings.NewReplacer("\n", " ⏎ ", "\t", " ").Replace(why)
				fmt.Fprintf(output, "%s\t%s\t%s\t%.1f s\t%s\n", result, it.pattern, spoken, time.Since(began).Seconds(), why)
				must(output.Flush())
			}()
		}
	}
	all.Wait()
}

// outcome runs a case once: passed, failed or not run, and why.
func (it testCase) outcome(b *bank, spoken string) (result, why string) {
	for _, store := range it.stores {
		if missing := b.environment.missing(store); missing != "" {
			return "not run", missing
		}
	}
	ended := make(chan string, 1)
	go func() {
		defer func() {
			switch thrown := recover().(type) {
			case nil:
				ended <- ""
			case unmet:
				ended <- string(thrown)
			default:
				ended <- fmt.Sprintf("%v\n%s", thrown, debug.Stack())
			}
		}()
		run := &testRun{protocol: spoken, bank: b, environment: b.environment}
		run.gid = run.newGid()
		it.run(run)
	}()
	select {
	case why = <-ended:
	case <-time.After(caseSeconds * time.Second):
		why = fmt.Sprintf("no end after %d s", caseSeconds)
	}
	if why != "" {
		return "failed", why
	}
	return "passed", ""
}

// testRun is one case over one protocol.
type testRun struct {
	protocol    string
	bank        *bank
	environment environment
	gid         string
}

func (r *testRun) newGid() string {
	if r.protocol == "grpc" {
		return dtmgrpc.MustGenGid(r.environment.grpc)
	}
	return dtmcli.MustGenGid(r.environment.api())
}

// server is the address the client is given.
func (r *testRun) server() string {
	switch r.protocol {
	case "grpc":
		return r.environment.grpc
	case "json-rpc":
		return r.environment.http + "/api/json-rpc"
	}
	return r.environment.api()
}

// url is where a branch's method is called.
func (r *testRun) url(method string) string {
	if r.protocol == "json-rpc" {
		return r.bank.url(method) + "?method=" + method
	}
	return r.bank.url(method)
}

func (r *testRun) script(call string, answers ...answer) { r.bank.script(r.gid, call, answers...) }

// open makes an account of this run's own with 100 in it.
func (r *testRun) open(store, name string) string {
	account := r.gid + "-" + name
	r.bank.ledgers[store].open(account, 100)
	return account
}

func (r *testRun) mysql() *sqlLedger { return r.bank.ledgers["mysql"].(*sqlLedger) }

// has checks an account: what is in it, and that nothing is held.
func (r *testRun) has(store, account string, expected int) {
	free, held := r.bank.ledgers[store].balance(account)
	check(free == expected && held == 0, "%s %s: %d and %d held, expected %d and 0", store, account, free, held, expected)
}

// wasCalled checks what the branches were asked, in order.
func (r *testRun) wasCalled(expected string) { equal("branch calls", r.bank.calls(r.gid), expected) }

// lastHeader is the header x-team of the last branch call.
func (r *testRun) lastHeader() string {
	r.bank.lock.Lock()
	defer r.bank.lock.Unlock()
	return r.bank.headers[r.gid]
}

func check(holds bool, format string, values ...any) {
	if !holds {
		panic(unmet(fmt.Sprintf(format, values...)))
	}
}

func equal(what, got, expected string) {
	check(got == expected, "%s: %q, expected %q", what, got, expected)
}

func succeeds(err error) { check(err == nil, "unexpected error: %v", err) }
