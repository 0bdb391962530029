package main

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmcli/dtmimp"
	"github.com/dtm-labs/client/dtmgrpc"
	"github.com/dtm-labs/client/dtmgrpc/dtmgpb"
)

var background = context.Background()

func init() {
	addFor("http grpc json-rpc", "msg", msgSubmitted)
	add("msg: DoAndSubmitDB", msgDoAndSubmit)
	add("msg: DoAndSubmitDB, refused by the business", msgRefused)
	add("msg: DoAndSubmitDB, business unsure", msgUnsure)
	addFor("http grpc json-rpc", "msg: query-prepared says committed", msgQueryCommitted)
	addFor("http grpc json-rpc", "msg: query-prepared says rolled back", msgQueryRolledBack)
	add("msg: DoAndSubmitDB after query-prepared", msgTooLate)
	add("msg: delayed", msgDelayed)
	addFor("http", "msg: concurrent", msgConcurrent) // over gRPC this client has no way to say so
	add("msg: failure of a step is retried", msgRetried)
	add("msg: topic", msgTopic)
	addFor("http grpc json-rpc", "msg: unknown topic", msgUnknownTopic)
}

// msg is the client's own, whatever the protocol.
type msg struct {
	*dtmimp.TransBase
	add           func(action string, payload order)
	topic         func(name string, payload order)
	delay         func(seconds uint64)
	prepare       func(query string) error
	submit        func() error
	doAndSubmitDB func(query string, db *sql.DB, business dtmcli.BarrierBusiFunc) error
}

func (r *testRun) msg() msg {
	if r.protocol == "grpc" {
		it := dtmgrpc.NewMsgGrpc(r.server(), r.gid)
		return msg{
			TransBase: &it.TransBase, prepare: it.Prepare, submit: it.Submit, doAndSubmitDB: it.DoAndSubmitDB,
			add:   func(action string, payload order) { it.Add(action, payload.message()) },
			topic: func(name string, payload order) { it.AddTopic(name, payload.message()) },
			delay: func(seconds uint64) { it.SetDelay(seconds) },
		}
	}
	it := dtmcli.NewMsg(r.server(), r.gid)
	if r.protocol == "json-rpc" {
		it.Protocol = dtmimp.Jrpc
	}
	return msg{
		TransBase: &it.TransBase, prepare: it.Prepare, submit: it.Submit, doAndSubmitDB: it.DoAndSubmitDB,
		add:   func(action string, payload order) { it.Add(action, payload) },
		topic: func(name string, payload order) { it.AddTopic(name, payload) },
		delay: func(seconds uint64) { it.SetDelay(seconds) },
	}
}

// message is a msg that waits and adds 30 to an account; the sender's own 30 leave in its business.
func (r *testRun) message() (it msg, from, to string) {
	from, to = r.open("mysql", "from"), r.open("mysql", "to")
	it = r.msg()
	it.WaitResult = true
	it.add(r.url("Move"), order{Store: "mysql", Account: to, Amount: 30})
	return
}

func (r *testRun) withdraw(from string) dtmcli.BarrierBusiFunc {
	return func(tx *sql.Tx) error { return r.mysql().change(tx, from, -30) }
}

func msgSubmitted(r *testRun) {
	it, _, to := r.message()
	succeeds(it.prepare(r.url("Query")))
	equal("status", r.query().status(), "prepared")
	succeeds(it.submit())
	r.ends("succeed", "01 action succeed")
	r.wasCalled("01 action")
	r.has("mysql", to, 130)
}

func msgDoAndSubmit(r *testRun) {
	it, from, to := r.message()
	succeeds(it.doAndSubmitDB(r.url("Query"), r.mysql().db, r.withdraw(from)))
	r.ends("succeed", "01 action succeed")
	r.transferred(from, to)
	equal("barrier", r.mysql().barriers(r.gid), "00 msg msg, 01 action action")
}

func msgRefused(r *testRun) {
	it, from, to := r.message()
	err := it.doAndSubmitDB(r.url("Query"), r.mysql().db, func(*sql.Tx) error { return dtmcli.ErrFailure })
	check(errors.Is(err, dtmcli.ErrFailure), "%v is not ErrFailure", err)
	r.ends("failed", "01 action prepared")
	r.wasCalled("")
	r.untouched(from, to)
}

// msgUnsure: the business says neither; the client itself asks query-prepared, and gives up.
func msgUnsure(r *testRun) {
	it, from, to := r.message()
	err := it.doAndSubmitDB(r.url("Query"), r.mysql().db, func(*sql.Tx) error { return errors.New("who knows") })
	check(err != nil && err.Error() == "who knows", "%v is not the business's own error", err)
	r.ends("failed", "01 action prepared")
	r.untouched(from, to)
}

// prepareAndDie does what DoAndSubmitDB does up to the submit.
func (r *testRun) prepareAndDie(it msg, business dtmcli.BarrierBusiFunc) {
	it.TimeoutToFail = 1
	succeeds(it.prepare(r.url("Query")))
	if business != nil {
		barrier, err := dtmcli.BarrierFrom("msg", r.gid, "00", "msg")
		succeeds(err)
		succeeds(barrier.CallWithDB(r.mysql().db, business))
	}
}

func msgQueryCommitted(r *testRun) {
	it, from, to := r.message()
	r.script("00 msg", notYet)
	r.prepareAndDie(it, r.withdraw(from))
	r.endsNudged("succeed", "01 action succeed")
	r.wasCalled("00 msg, 00 msg, 01 action")
	r.transferred(from, to)
}

func msgQueryRolledBack(r *testRun) {
	it, from, to := r.message()
	r.prepareAndDie(it, nil)
	r.endsNudged("failed", "01 action prepared")
	r.wasCalled("00 msg")
	r.untouched(from, to)
	equal("barrier", r.mysql().barriers(r.gid), "00 msg rollback")
}

// msgTooLate: query-prepared came before the business, which must not be done any more.
func msgTooLate(r *testRun) {
	it, from, to := r.message()
	it.TimeoutToFail = 1
	succeeds(it.prepare(r.url("Query")))
	r.endsNudged("failed", "01 action prepared")
	barrier, err := dtmcli.BarrierFrom("msg", r.gid, "00", "msg")
	succeeds(err)
	err = barrier.CallWithDB(r.mysql().db, r.withdraw(from))
	check(errors.Is(err, dtmcli.ErrDuplicated), "%v is not ErrDuplicated", err)
	r.saysFailure(it.submit(), "current status 'failed', cannot sumbmit. FAILURE")
	r.untouched(from, to)
}

func msgDelayed(r *testRun) {
	it, _, to := r.message()
	it.WaitResult = false
	it.delay(2)
	succeeds(it.submit())
	submitted := time.Now()
	equal("status", r.query().status(), "submitted")
	r.endsNudged("succeed", "01 action succeed")
	check(time.Since(submitted) > 900*time.Millisecond, "called at once, the delay was 2 s") // times have whole seconds
	r.wasCalled("01 action")
	r.has("mysql", to, 130)
}

func msgRetried(r *testRun) {
	it, _, to := r.message()
	it.WaitResult = false
	r.script("01 action", refuse, broken, notYet)
	succeeds(it.submit())
	r.endsNudged("succeed", "01 action succeed")
	r.wasCalled("01 action, 01 action, 01 action, 01 action")
	r.has("mysql", to, 130)
}

func msgConcurrent(r *testRun) {
	it, from, to := r.message()
	it.add(r.url("Move"), order{Store: "mysql", Account: from, Amount: -30})
	it.Concurrent = true
	together := meeting(2)
	r.script("01 action", together)
	r.script("02 action", together)
	succeeds(it.submit())
	r.ends("succeed", "01 action succeed, 02 action succeed")
	r.transferred(from, to)
}

func topicRequest(topic, url string) *dtmgpb.DtmTopicRequest {
	return &dtmgpb.DtmTopicRequest{Topic: topic, URL: url, Remark: "interop"}
}

func msgTopic(r *testRun) {
	to := r.open("mysql", "to")
	topic := "topic-" + r.gid
	first, second := r.url("Move"), r.url("Move")
	if r.protocol == "grpc" {
		second = strings.Replace(second, "127.0.0.1", "localhost", 1)
	} else {
		second += "?subscriber=2"
	}
	succeeds(r.subscribe(topic, first))
	succeeds(r.subscribe(topic, second))
	check(r.subscribe(topic, second) != nil, "the same url was taken twice")
	var err error
	for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(200 * time.Millisecond) {
		it := r.msg() // another coordinator may need ConfigUpdateInterval to hear of the topic
		it.WaitResult = true
		it.topic(topic, order{Store: "mysql", Account: to, Amount: 30})
		if err = it.submit(); err == nil || !strings.Contains(err.Error(), "topic") {
			break
		}
	}
	succeeds(err)
	r.ends("succeed", "01-01 action succeed, 01-02 action succeed")
	r.has("mysql", to, 160)
}

func msgUnknownTopic(r *testRun) {
	it := r.msg()
	it.topic("nobody-"+r.gid, order{})
	err := it.submit()
	check(err != nil && strings.Contains(err.Error(), "topic not found"), "%v does not say that the topic is not found", err)
	equal("status", r.query().status(), "unknown gid")
}
