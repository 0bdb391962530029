package main

import (
	"strings"
	"sync"
	"time"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmcli/dtmimp"
	"github.com/dtm-labs/client/dtmgrpc"
)

func init() {
	addFor("http grpc json-rpc", "saga", sagaSucceeds)
	addFor("http grpc json-rpc", "saga: rolled back", sagaRolledBack)
	add("saga: not waiting", sagaNotWaiting)
	add("saga: concurrent", sagaConcurrent)
	add("saga: orders", sagaOrders)
	add("saga: orders, rolled back", sagaOrdersRolledBack)
	addFor("http grpc json-rpc", "saga: ongoing, asked again", sagaOngoing)
	addFor("http grpc json-rpc", "saga: unknown answer, retried", sagaRetried)
	add("saga: timeout_to_fail", sagaTimeout)
	add("saga: retry_limit", sagaRetryLimit)
	add("saga: retry_interval", sagaRetryInterval)
	add("saga: request_timeout", sagaRequestTimeout)
	add("saga: branch_headers", sagaHeaders)
	addFor("http grpc json-rpc", "saga: submitted twice", sagaTwice)
	add("saga: no steps", sagaEmpty)
}

// saga is the client's own, whatever the protocol.
type saga struct {
	*dtmimp.TransBase
	add        func(action, compensate string, payload order)
	concurrent func()
	order      func(branch int, after []int)
	submit     func() error
}

func (r *testRun) saga() saga {
	if r.protocol == "grpc" {
		it := dtmgrpc.NewSagaGrpc(r.server(), r.gid)
		it.WaitResult = true
		return saga{
			TransBase: &it.TransBase, submit: it.Submit, concurrent: func() { it.EnableConcurrent() },
			add:   func(action, compensate string, payload order) { it.Add(action, compensate, payload.message()) },
			order: func(branch int, after []int) { it.AddBranchOrder(branch, after) },
		}
	}
	it := dtmcli.NewSaga(r.server(), r.gid)
	it.WaitResult = true
	if r.protocol == "json-rpc" {
		it.Protocol = dtmimp.Jrpc
	}
	return saga{
		TransBase: &it.TransBase, submit: it.Submit, concurrent: func() { it.SetConcurrent() },
		add:   func(action, compensate string, payload order) { it.Add(action, compensate, payload) },
		order: func(branch int, after []int) { it.AddBranchOrder(branch, after) },
	}
}

// transfer is a saga that waits: 30 from one new account to another.
func (r *testRun) transfer() (it saga, from, to string) {
	from, to = r.open("mysql", "from"), r.open("mysql", "to")
	it = r.saga()
	it.add(r.url("Move"), r.url("Move"), order{Store: "mysql", Account: from, Amount: -30})
	it.add(r.url("Move"), r.url("Move"), order{Store: "mysql", Account: to, Amount: 30})
	return
}

func (r *testRun) transferred(from, to string) {
	r.has("mysql", from, 70)
	r.has("mysql", to, 130)
}

func (r *testRun) untouched(from, to string) {
	r.has("mysql", from, 100)
	r.has("mysql", to, 100)
}

const (
	sagaDone   = "01 compensate prepared, 01 action succeed, 02 compensate prepared, 02 action succeed"
	sagaUndone = "01 compensate succeed, 01 action succeed, 02 compensate succeed, 02 action failed"
)

func sagaSucceeds(r *testRun) {
	it, from, to := r.transfer()
	succeeds(it.submit())
	r.ends("succeed", sagaDone)
	r.wasCalled("01 action, 02 action")
	r.transferred(from, to)
	equal("protocol", r.query().Transaction.Protocol, map[string]string{"http": "http", "grpc": "grpc", "json-rpc": "json-rpc"}[r.protocol])
}

func sagaRolledBack(r *testRun) {
	it, from, to := r.transfer()
	r.script("02 action", refuse)
	r.saysFailure(it.submit(), "the bank refuses")
	r.ends("failed", sagaUndone)
	r.reason("the bank refuses")
	r.wasCalled("01 action, 02 action, 02 compensate, 01 compensate")
	r.untouched(from, to)
	equal("barrier", r.mysql().barriers(r.gid),
		"01 action action, 02 action compensate, 02 compensate compensate, 01 compensate compensate")
}

func sagaNotWaiting(r *testRun) {
	it, from, to := r.transfer()
	r.script("01 action", notYet)
	it.WaitResult = false
	succeeds(it.submit())
	r.endsNudged("succeed", sagaDone)
	r.transferred(from, to)
}

// meeting returns answers that are given only when all have been asked.
func meeting(number int) answer {
	var all sync.WaitGroup
	all.Add(number)
	return func(c *call, business handler) error {
		all.Done()
		arrived := make(chan struct{})
		go func() { all.Wait(); close(arrived) }()
		select {
		case <-arrived:
			return business(c)
		case <-time.After(2 * time.Second):
			return dtmcli.ErrFailure
		}
	}
}

func sagaConcurrent(r *testRun) {
	it, from, to := r.transfer()
	it.concurrent()
	together := meeting(2)
	r.script("01 action", together)
	r.script("02 action", together)
	succeeds(it.submit())
	r.ends("succeed", sagaDone)
	r.transferred(from, to)
}

func sagaOrders(r *testRun) {
	it, from, to := r.transfer()
	it.concurrent()
	it.order(0, []int{1})
	succeeds(it.submit())
	r.ends("succeed", sagaDone)
	r.wasCalled("02 action, 01 action")
	r.transferred(from, to)
}

func sagaOrdersRolledBack(r *testRun) {
	it, from, to := r.transfer()
	it.concurrent()
	it.order(1, []int{0})
	r.script("01 action", refuse)
	r.saysFailure(it.submit(), "the bank refuses")
	r.ends("failed", "01 compensate succeed, 01 action failed, 02 compensate prepared, 02 action prepared")
	r.untouched(from, to)
}

func sagaOngoing(r *testRun) {
	it, from, to := r.transfer()
	r.script("02 action", notYet)
	r.saysFailure(it.submit()) // not succeeded in this round, which is what waiting was for
	equal("status", r.query().status(), "submitted")
	r.endsNudged("succeed", sagaDone)
	r.wasCalled("01 action, 02 action, 02 action")
	r.transferred(from, to)
}

func sagaRetried(r *testRun) {
	it, from, to := r.transfer()
	r.script("01 action", broken, lost)
	check(it.submit() != nil, "the bank was on fire, and submit says nothing")
	r.endsNudged("succeed", sagaDone)
	r.wasCalled("01 action, 01 action, 01 action, 02 action")
	r.transferred(from, to)
}

func sagaTimeout(r *testRun) {
	it, from, to := r.transfer()
	never := make([]answer, 1000)
	for i := range never {
		never[i] = notYet
	}
	r.script("01 action", never...)
	it.TimeoutToFail = 2
	r.saysFailure(it.submit())
	r.endsNudged("failed", "01 compensate succeed, 01 action prepared, 02 compensate prepared, 02 action prepared")
	r.reason("Timeout after 2 seconds")
	r.untouched(from, to)
}

func sagaRetryLimit(r *testRun) {
	it, from, to := r.transfer()
	r.script("02 action", broken, broken, broken)
	it.RetryLimit = 2
	r.saysFailure(it.submit())
	r.endsNudged("failed", "01 compensate succeed, 01 action succeed, 02 compensate succeed, 02 action prepared")
	r.reason("RetryCount is greater than RetryLimit, RetryLimit: 2")
	r.wasCalled("01 action, 02 action, 02 action, 02 action, 02 compensate, 01 compensate")
	r.untouched(from, to)
}

func sagaRetryInterval(r *testRun) {
	it, from, to := r.transfer()
	r.script("01 action", notYet)
	it.RetryInterval = 17
	r.saysFailure(it.submit())
	interval := r.query().Transaction.NextCronInterval
	check(interval == 17, "next_cron_interval: %d, expected 17", interval)
	r.endsNudged("succeed", sagaDone)
	r.transferred(from, to)
}

func sagaRequestTimeout(r *testRun) {
	it, from, to := r.transfer()
	released := make(chan struct{})
	r.script("01 action", func(c *call, business handler) error {
		select {
		case <-released:
		case <-time.After(10 * time.Second):
		}
		return business(c)
	})
	it.RequestTimeout = 1
	it.WaitResult = false // the client would use the same time-out for the submit
	succeeds(it.submit())
	time.AfterFunc(2*time.Second, func() { close(released) }) // after the coordinator has given up waiting
	r.endsNudged("succeed", sagaDone)
	r.wasCalled("01 action, 01 action, 02 action")
	r.transferred(from, to)
}

func sagaHeaders(r *testRun) {
	it, from, to := r.transfer()
	it.BranchHeaders = map[string]string{"x-team": "blue"}
	succeeds(it.submit())
	equal("header x-team at the last action", r.lastHeader(), "blue")
	check(strings.Contains(r.query().Transaction.Options, `"x-team":"blue"`), "options: %s", r.query().Transaction.Options)
	r.transferred(from, to)
}

func sagaTwice(r *testRun) {
	it, from, to := r.transfer()
	succeeds(it.submit())
	r.saysFailure(it.submit(), "current status 'succeed', cannot sumbmit. FAILURE")
	r.wasCalled("01 action, 02 action")
	r.transferred(from, to)
}

func sagaEmpty(r *testRun) {
	succeeds(r.saga().submit())
	r.ends("succeed", "")
}
