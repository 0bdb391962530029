package main

import "strings"

func init() {
	for _, store := range []string{"mysql", "postgres", "redis"} {
		add("barrier: "+store+", answer lost", func(r *testRun) { barrierLostAnswer(r, store) }, store)
		add("barrier: "+store+", null compensation", func(r *testRun) { barrierNullCompensation(r, store) }, store)
		add("barrier: "+store+", late action", func(r *testRun) { barrierLateAction(r, store) }, store)
	}
}

func (r *testRun) transferIn(store string) (it saga, from, to string) {
	from, to = r.open(store, "from"), r.open(store, "to")
	it = r.saga()
	it.add(r.url("Move"), r.url("Move"), order{Store: store, Account: from, Amount: -30})
	it.add(r.url("Move"), r.url("Move"), order{Store: store, Account: to, Amount: 30})
	return
}

// barrierLostAnswer: what is called again is not done again, neither action nor compensation.
func barrierLostAnswer(r *testRun, store string) {
	it, from, to := r.transferIn(store)
	it.WaitResult = false
	r.script("01 action", lost)
	r.script("02 action", refuse)
	r.script("01 compensate", lost, lost)
	succeeds(it.submit())
	r.endsNudged("failed", sagaUndone)
	calls := r.bank.calls(r.gid)
	check(strings.Count(calls, "01 action") == 2 && strings.Count(calls, "01 compensate") == 3, "branch calls: %s", calls)
	r.has(store, from, 100)
	r.has(store, to, 100)
}

// barrierNullCompensation: the second step never did anything, so that its compensation must not either.
func barrierNullCompensation(r *testRun, store string) {
	it, from, to := r.transferIn(store)
	r.script("02 action", refuse)
	r.saysFailure(it.submit())
	r.ends("failed", sagaUndone)
	r.wasCalled("01 action, 02 action, 02 compensate, 01 compensate")
	r.has(store, from, 100)
	r.has(store, to, 100)
}

// barrierLateAction: the action arrives after its compensation, and does nothing.
func barrierLateAction(r *testRun, store string) {
	it, from, to := r.transferIn(store)
	compensated, done := make(chan struct{}), make(chan error, 1)
	r.script("02 action", func(c *call, business handler) error {
		go func() {
			<-compensated
			done <- business(&call{transType: c.transType, gid: c.gid, branchID: c.branchID, op: c.op, order: c.order})
		}()
		return refuse(c, business)
	})
	r.saysFailure(it.submit())
	r.ends("failed", sagaUndone)
	close(compensated)
	succeeds(<-done)
	r.has(store, from, 100)
	r.has(store, to, 100)
}
