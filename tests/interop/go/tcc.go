package main

import (
	"errors"

	"github.com/dtm-labs/client/dtmcli"
	"github.com/dtm-labs/client/dtmcli/dtmimp"
	"github.com/dtm-labs/client/dtmgrpc"
	"github.com/go-resty/resty/v2"
	"google.golang.org/protobuf/types/known/emptypb"
)

func init() {
	addFor("http grpc json-rpc", "tcc", tccSucceeds)
	addFor("http grpc json-rpc", "tcc: try refused", tccRefused)
	add("tcc: nested", tccNested)
	add("tcc: nested, rolled back", tccNestedRefused)
	add("tcc: confirm ongoing, asked again", tccConfirmOngoing)
	addFor("http grpc json-rpc", "tcc: confirm unknown, retried", tccConfirmUnknown)
	add("tcc: branch_headers", tccHeaders)
	add("tcc: timeout_to_fail while trying", tccTimeout)
}

// tcc runs a global transaction of the client's; try calls one branch.
func (r *testRun) tcc(custom func(*dtmimp.TransBase), business func(try func(method string, payload order) error) error) error {
	if r.protocol == "grpc" {
		return dtmgrpc.TccGlobalTransaction2(r.server(), r.gid, func(it *dtmgrpc.TccGrpc) { custom(&it.TransBase) },
			func(it *dtmgrpc.TccGrpc) error {
				return business(func(method string, payload order) error {
					err := it.CallBranch(payload.message(), r.url(method), r.url("Hold"), r.url("Hold"), &emptypb.Empty{})
					return dtmgrpc.GrpcError2DtmError(err)
				})
			})
	}
	prepare := func(it *dtmcli.Tcc) {
		custom(&it.TransBase)
		if r.protocol == "json-rpc" {
			it.Protocol = dtmimp.Jrpc
		}
	}
	return dtmcli.TccGlobalTransaction2(r.server(), r.gid, prepare,
		func(it *dtmcli.Tcc) (*resty.Response, error) {
			return nil, business(func(method string, payload order) error {
				try := r.bank.url(method) // the client calls it itself, over plain HTTP
				_, err := it.CallBranch(payload, try, r.url("Hold"), r.url("Hold"))
				return err
			})
		})
}

func waiting(base *dtmimp.TransBase) { base.WaitResult = true }

// tccTransfer holds 30 at both accounts.
func (r *testRun) tccTransfer(from, to string, custom func(*dtmimp.TransBase)) error {
	return r.tcc(custom, func(try func(string, order) error) error {
		if err := try("Hold", order{Store: "mysql", Account: from, Amount: -30}); err != nil {
			return err
		}
		return try("Hold", order{Store: "mysql", Account: to, Amount: 30})
	})
}

const (
	tccConfirmed = "01 cancel prepared, 01 confirm succeed, 02 cancel prepared, 02 confirm succeed"
	tccCancelled = "01 cancel succeed, 01 confirm prepared, 02 cancel succeed, 02 confirm prepared"
)

func tccSucceeds(r *testRun) {
	from, to := r.open("mysql", "from"), r.open("mysql", "to")
	succeeds(r.tccTransfer(from, to, waiting))
	r.ends("succeed", tccConfirmed)
	r.wasCalled("01 try, 02 try, 02 confirm, 01 confirm")
	r.transferred(from, to)
}

func tccRefused(r *testRun) {
	from, to := r.open("mysql", "from"), r.open("mysql", "to")
	r.script("02 try", refuse)
	err := r.tccTransfer(from, to, waiting)
	check(errors.Is(err, dtmcli.ErrFailure), "%v is not ErrFailure", err)
	r.ends("failed", tccCancelled)
	r.reason("the bank refuses")
	r.wasCalled("01 try, 02 try, 02 cancel, 01 cancel")
	r.untouched(from, to)
}

func (r *testRun) nestedTransfer(from, to string) error {
	return r.tcc(waiting, func(try func(string, order) error) error {
		inner := order{Store: "mysql", Account: to, Amount: 30}
		return try("Nested", order{Store: "mysql", Account: from, Amount: -30, Inner: &inner})
	})
}

func tccNested(r *testRun) {
	from, to := r.open("mysql", "from"), r.open("mysql", "to")
	succeeds(r.nestedTransfer(from, to))
	r.ends("succeed", "01 cancel prepared, 01 confirm succeed, 0101 cancel prepared, 0101 confirm succeed")
	r.wasCalled("01 try, 0101 try, 0101 confirm, 01 confirm")
	r.transferred(from, to)
}

func tccNestedRefused(r *testRun) {
	from, to := r.open("mysql", "from"), r.open("mysql", "to")
	r.script("0101 try", refuse)
	err := r.nestedTransfer(from, to)
	check(errors.Is(err, dtmcli.ErrFailure), "%v is not ErrFailure", err)
	r.ends("failed", "01 cancel succeed, 01 confirm prepared, 0101 cancel succeed, 0101 confirm prepared")
	r.untouched(from, to)
}

func tccConfirmOngoing(r *testRun) {
	from, to := r.open("mysql", "from"), r.open("mysql", "to")
	r.script("02 confirm", notYet)
	r.saysOngoing(r.tccTransfer(from, to, waiting))
	r.endsNudged("succeed", tccConfirmed)
	r.wasCalled("01 try, 02 try, 02 confirm, 02 confirm, 01 confirm")
	r.transferred(from, to)
}

func tccConfirmUnknown(r *testRun) {
	from, to := r.open("mysql", "from"), r.open("mysql", "to")
	r.script("01 confirm", lost, refuse)
	err := r.tccTransfer(from, to, waiting)
	check(err != nil, "a confirm's answer was lost, and submit says nothing")
	check(!errors.Is(dtmgrpc.GrpcError2DtmError(err), dtmcli.ErrFailure), "unknown became a failure: %v", err)
	r.endsNudged("succeed", tccConfirmed)
	r.wasCalled("01 try, 02 try, 02 confirm, 01 confirm, 01 confirm, 01 confirm")
	r.transferred(from, to)
}

func tccHeaders(r *testRun) {
	from, to := r.open("mysql", "from"), r.open("mysql", "to")
	succeeds(r.tccTransfer(from, to, func(base *dtmimp.TransBase) {
		base.WaitResult, base.BranchHeaders = true, map[string]string{"x-team": "blue"}
	}))
	r.ends("succeed", tccConfirmed)
	equal("header x-team at the last confirm", r.lastHeader(), "blue")
	r.transferred(from, to)
}

// tccTimeout: the coordinator cancels while the client still tries; a try that comes late is refused.
func tccTimeout(r *testRun) {
	from, to := r.open("mysql", "from"), r.open("mysql", "to")
	var late error
	err := r.tcc(func(base *dtmimp.TransBase) { base.TimeoutToFail = 2 }, func(try func(string, order) error) error {
		succeeds(try("Hold", order{Store: "mysql", Account: from, Amount: -30}))
		r.endsNudged("failed", "01 cancel succeed, 01 confirm prepared")
		late = try("Hold", order{Store: "mysql", Account: to, Amount: 30})
		return nil
	})
	if r.protocol == "grpc" {
		check(errors.Is(late, dtmcli.ErrFailure), "%v is not ErrFailure", late)
	} else {
		r.saysFailure(late, "no trans with gid: "+r.gid+" status: prepared found")
	}
	r.saysFailure(err, "cannot sumbmit")
	r.reason("Timeout after 2 seconds")
	r.untouched(from, to)
}
